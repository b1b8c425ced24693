"""overlayctl peers and plan: what the agent of this node says of itself."""

import argparse
from typing import Any

from agent.config import Config
from agent.ctl import show
from agent.ctl.client import ask


def peers(flags: argparse.Namespace, settings: Config) -> int:
    """One row per other node."""
    rows = ask(settings.run_dir, "peers")["peers"]
    if flags.output == "json":
        show.as_json(rows)
        return 0
    columns = ("node", "subnet", "underlay", "vtep_mac", "way", "state")
    show.table(
        [name.upper() for name in columns],
        [[row.get(name, "-") for name in columns] for row in rows],
    )
    return 0


def plan(flags: argparse.Namespace, settings: Config) -> int:
    """One line per change."""
    answer: dict[str, Any] = ask(settings.run_dir, "plan")
    if flags.output == "json":
        show.as_json(answer)
        return 0
    if answer["waiting_for"]:
        print(f"nothing may be changed yet: waiting for {answer['waiting_for']}")
    for step in answer["steps"]:
        print(step)
    print(f"{len(answer['steps'])} changes")
    return 0
