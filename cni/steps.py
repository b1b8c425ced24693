"""Where a request is, how long each part of it took, and whether its time is up.

Runtimes set no deadline of their own until kubelet's four minutes are over, and then kill the plugin without
a word. So every request has one here, and a request that passes it says in which step it was.
"""

import time
from collections.abc import Callable

from cni.diary import Line
from overlay.errors import NotReady

LIMIT_S = 60.0
"""Well below kubelet's 4 minutes and the front's own 90 s."""


class Steps:
    """One request's journey. Written by the thread that serves it, read by the one that watches it."""

    def __init__(
        self, *, limit_s: float = LIMIT_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.current = "start"
        self.trace = ""
        self.notes: dict[str, str] = {}
        self.line: Line | None = None
        """What a verb that was done leaves for the history of addresses."""
        self._limit_s = limit_s
        self._clock = clock
        self._began = self._since = clock()
        self._spent: dict[str, float] = {}
        self._over = False

    def at(self, name: str) -> None:
        """The next part begins.

        Raises:
            NotReady: the request's time is up; whatever it made is undone on the way out.
        """
        self._close()
        if self.left_s <= 0:
            raise NotReady(self.late(), hint="journalctl -u overlay-agent; try again")
        self.current = name

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._began + self._limit_s - self._clock()

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.left_s <= 0

    def late(self) -> str:
        """The sentence for a request that has hung."""
        return f"not done after {self._limit_s:g} s: it hung in step {self.current!r}"

    def done(self) -> None:
        """The last part ends here."""
        self._close()
        self._over = True

    def spent(self) -> dict[str, float]:
        """Seconds by part, up to now."""
        self._close()
        return dict(self._spent)

    def sentence(self) -> str:
        """``pod=web total=3.1ms lock=0.1 veth=0.9 trace=00-…`` for the log."""
        self._close()
        total = sum(self._spent.values())
        parts = [f"{key}={value}" for key, value in self.notes.items() if value]
        parts.append(f"total={total * 1000:.1f}ms")
        parts += [f"{name}={seconds * 1000:.1f}" for name, seconds in self._spent.items()]
        return " ".join(parts + ([f"trace={self.trace}"] if self.trace else []))

    def _close(self) -> None:
        if self._over:
            return
        now = self._clock()
        self._spent[self.current] = self._spent.get(self.current, 0.0) + now - self._since
        self._since = now
