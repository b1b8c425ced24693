"""Threads that everything hangs on: if one ends by an exception nobody foresaw, the process ends, to be started anew.

Half an agent would look like a whole one: the lease would run out, or peers be missed, and nobody would say so.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

MOST_LOOKS = 100


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


def show_names(running: Callable[[], Iterable[threading.Thread]] = threading.enumerate) -> None:
    """So that ``ps -L`` and ``top -H`` tell the threads apart, whichever of them has trouble.

    The kernel gives a thread the name of the one that starts it: who is started meanwhile has to be looked at as well,
    until nobody is new.
    """
    named: set[int] = set()
    for _ in range(MOST_LOOKS):
        fresh = [thread for thread in running() if thread.native_id not in named]
        if not fresh:
            return
        for thread in fresh:
            number = thread.native_id
            if number is None:
                continue  # it is just being started
            named.add(number)
            if thread is not threading.main_thread():
                with suppress(OSError):  # it has ended meanwhile
                    Path(f"/proc/self/task/{number}/comm").write_text(thread.name[:15])
        time.sleep(0)
