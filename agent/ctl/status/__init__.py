"""overlayctl status: is this node all right? One screen, an exit code, and what to do next."""

import argparse
from typing import Any

from agent.config import Config
from agent.ctl import show
from agent.ctl.client import NotAllowed, ask
from agent.ctl.status import down, screen
from agent.ctl.status.layout import CODES, laid_out
from overlay.errors import NotReady


def add_arguments(_: str, parser: argparse.ArgumentParser) -> None:
    """``--watch``."""
    parser.add_argument(
        "--watch",
        action="store_true",
        help="look again every 2 s, until Ctrl-C; in a pipe, print the lines that changed",
    )


def status(flags: argparse.Namespace, settings: Config) -> int:
    """The verdict is the exit code: 0 healthy, 1 degraded, 2 down."""
    if flags.watch:
        return screen.follow(lambda: look(settings), as_json=flags.output == "json")
    answer = look(settings)
    if flags.output == "json":
        show.as_json(answer)
    else:
        out = show.console()
        for line in laid_out(answer, width=out.width):
            out.print(line, soft_wrap=True)
    return CODES[answer["verdict"]]


def look(settings: Config, *, timeout_s: float = 15.0) -> dict[str, Any]:
    """What the agent says, or what can be said without one."""
    try:
        return ask(settings.run_dir, "status", timeout_s=timeout_s)
    except NotAllowed:  # "down" would be a guess
        raise
    except NotReady as error:
        return down.facts(settings, error)
