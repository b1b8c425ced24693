"""Threads that everything hangs on: if one ends by an exception nobody foresaw, the process ends, to be started anew.

Half an agent would look like a whole one: the lease would run out, or peers be missed, and nobody would say so.
"""

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


class Vital:
    """``names`` are the threads that matter; ``on_end`` is called in the one that ended."""

    def __init__(self, names: Collection[str], on_end: Callable[[], None]) -> None:
        self.lost = ""
        """The name of the thread that is gone."""
        self._names, self._on_end = names, on_end

    def give_up(self, name: str, why: str) -> None:
        """A thread that matters still runs, but is of no use."""
        if not self.lost:
            log.error("the thread %s %s: the agent ends, to be started anew", name, why)
            self.lost = name
            self._on_end()

    def ended(self, what: threading.ExceptHookArgs) -> None:
        """For ``threading.excepthook``: every such end is logged, with its traceback."""
        name = what.thread.name if what.thread else "?"
        if what.exc_value is None:
            return  # the interpreter is on its way out
        log.error("the thread %s ended by itself", name, exc_info=what.exc_value)
        if name in self._names:
            self.lost = name
            self._on_end()


def show_names(tasks: Path = Path("/proc/self/task")) -> None:
    """So that ``ps -L`` and ``top -H`` tell the threads apart, whichever of them has trouble."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            with suppress(OSError):  # it has ended meanwhile
                (tasks / str(thread.native_id) / "comm").write_text(thread.name[:15])
