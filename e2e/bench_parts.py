"""How `make bench` goes on when a part of it fails, and stops when it is told to: no figure is lost, nothing is left.

A part that fails is said and noted, and the next one begins. SIGINT and SIGTERM end the run at once, by an exception
that no part keeps; the labs are taken down on its way.
"""

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from e2e import netns
from e2e.lab import MEMORY, Lab
from e2e.process import CommandFailed

BEGUN = time.monotonic()
_ENDING = (signal.SIGINT, signal.SIGTERM)
_OUT = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


class Interrupted(BaseException):
    """SIGINT or SIGTERM came; not an Exception, as KeyboardInterrupt is none."""


class Parts:
    """Runs one part after another; what fails goes to ``failed``, and after each ``write`` is called."""

    def __init__(self, failed: list[str], write: Callable[[], None]) -> None:
        self._failed, self._write = failed, write

    def __call__(self, name: str, work: Callable[..., None], *arguments: object) -> None:
        """One part. Any failure of it is its own: what comes next is measured all the same."""
        try:
            work(*arguments)
        except Exception as error:
            if not isinstance(error, CommandFailed):
                traceback.print_exc()
            self._failed.append(f"{name}: {error or type(error).__name__}")
            say(f"FAILED: {self._failed[-1]}")
        self._write()


def say(text: str) -> None:
    """A line of progress."""
    _OUT.print(f"{time.monotonic() - BEGUN:6.1f} s  {text}", markup=False, soft_wrap=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted, once: what is taken down then is taken down in peace."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for it in _ENDING:
            signal.signal(it, lambda *_: None)
        raise Interrupted(f"interrupted by {signal.Signals(number).name}")

    before = {it: signal.signal(it, stop) for it in _ENDING}
    try:
        yield
    finally:
        for it, handler in before.items():
            signal.signal(it, handler)


@contextmanager
def standing() -> Iterator[Lab]:
    """A lab on a tmpfs with its etcd running; all gone afterwards, even where its end was interrupted."""
    lab = Lab(root=MEMORY)
    try:
        with lab:
            lab.etcd.start()
            lab.record()
            yield lab
    finally:
        if lab.work.exists():
            lab.close()
        for path in netns.NETNS_DIR.glob(f"ovl-{lab.id}-*"):  # those of the bare loops
            netns.remove(path.name)
