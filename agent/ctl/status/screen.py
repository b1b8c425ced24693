"""``status --watch``: the screen drawn anew on a terminal, the lines that changed in a pipe; until Ctrl-C."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.live import Live

from agent.ctl import show
from agent.ctl.pipe import is_read
from agent.ctl.status.layout import CODES, laid_out

EVERY_S = 2.0
Look = Callable[[], Mapping[str, Any]]
_RUNNING = re.compile(
    r"renewed \d+ s ago|watch last heard \d+ s ago|revision \d+| \(for [^)]*\)|, the oldest for .*"
)


def follow(look: Look, *, as_json: bool) -> int:
    """The last verdict's exit code. An agent that goes away is shown as down, until it is back."""
    verdict = "down"
    try:
        for answer in _terminal(look) if _is_terminal() and not as_json else _pipe(look, as_json):
            verdict = str(answer["verdict"])
            if not is_read():
                break
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        pass
    return CODES[verdict]


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _terminal(look: Look) -> Iterator[Mapping[str, Any]]:
    out = show.console()
    size = out.size
    with Live(console=out, auto_refresh=False, screen=False) as live:
        while True:
            answer = look()
            if (
                out.size != size
            ):  # the terminal has folded what it showed: nobody knows where it begins
                size = out.size
                out.clear()
            live.update(Group(*laid_out(answer, width=out.width)), refresh=True)
            yield answer


def _pipe(look: Look, as_json: bool) -> Iterator[Mapping[str, Any]]:
    """One JSON object a look, or the first screen and then what is new of each, with the time."""
    before: set[str] | None = None
    while True:
        answer = look()
        if as_json:
            print(json.dumps(answer, default=str), flush=True)
        else:
            lines = [line.plain for line in laid_out(answer, width=show.WIDE)]
            stamp = "" if before is None else time.strftime("%H:%M:%S ")
            for line in lines:
                if before is None or still(line) not in before:
                    print(stamp + line, flush=True)
            before = {still(line) for line in lines}
        yield answer


def still(line: str) -> str:
    """A line without what runs on by itself: how old something is is no news."""
    return _RUNNING.sub("", line)
