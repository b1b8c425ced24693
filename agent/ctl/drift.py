"""overlayctl drift: what others undid in this node's kernel, and what the agent did about it."""

import argparse
from collections.abc import Mapping
from typing import Any

from agent.config import Config
from agent.ctl import show
from agent.ctl.client import ask
from agent.moment import utc
from agent.printable import printable

_COLUMNS = ("LAST", "FIRST", "TIMES", "OBJECT", "WHAT BECAME OF IT", "DONE", "LIKELY BY")


def drift(flags: argparse.Namespace, settings: Config) -> int:
    """The history, the youngest first. 0, or 1 while a fight goes on; NotReady where no agent answers."""
    answer = ask(settings.run_dir, "drift")
    if flags.output == "json":
        show.as_json(answer)
    else:
        _tell(answer)
    return 1 if answer["fights"] else 0


def _tell(answer: Mapping[str, Any]) -> None:
    entries = answer["entries"]
    if not entries:
        print(f"nothing has been undone since {utc(answer['since'])}")
        return
    show.table(_COLUMNS, [_row(entry) for entry in entries])
    print(
        f"{len(entries)} kinds of change since {utc(answer['since'])}, "
        f"{answer['last_day']} times within the last day"
    )
    for who, why in answer["fights"].items():
        print(printable(f"! {who}: {why}"))


def _row(entry: Mapping[str, Any]) -> list[object]:
    told = ("object", "change", "did", "culprit")
    times = [utc(entry["last"]), utc(entry["first"]), entry["count"]]
    return [*times, *(entry[name] for name in told)]
