"""What of other programs stands in this node's way: for the status while it is there, and once in the log.

Looked at every resync interval, and soon after a kernel event that concerns it. One thread with a netlink socket of
its own, so that a router's full table holds nobody up; the larger the table, the longer the pause between looks.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from agent.footing import Stance
from overlay.dataplane.obstacles import Needs, Obstacle, look
from overlay.errors import OverlayError
from overlay.netlink import Netlink
from overlay.netlink.parse import LinkInfo, Record

log = logging.getLogger(__name__)

SETTLE_S = 0.3
"""Changes come in groups; what goes again within it is not told."""
LEAST_PAUSE_S, SHARE = 1.0, 50
"""A look is followed by a pause of so many times what it took: 2 % of a core at most."""


class InWay:
    """``stance`` asks the reconcile loop what this node is, and may wait; ``freed`` is told that something has gone."""

    def __init__(
        self,
        netlink: Netlink,
        *,
        stance: Callable[[], Stance | None],
        freed: Callable[[], None],
        every_s: float,
    ) -> None:
        self._netlink, self._stance, self.every_s = netlink, stance, every_s
        self._freed = freed
        self._needs: Needs | None = None
        self._found: dict[str, str] = {}
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="in-way", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._news.set()

    def look(self) -> None:
        """This node is another one now: look soon."""
        self._news.set()

    def heard(self, records: Sequence[Record] | None) -> None:
        """What the kernel said, None if some of it was lost. Called in the watch's thread; quick."""
        needs = self._needs
        if needs is None:
            return
        if records is None or any(needs.concerns(it) or self._may_end(it) for it in records):
            self._news.set()

    def _may_end(self, record: Record) -> bool:
        """A link that goes takes its routes with it, of which the kernel says nothing."""
        gone = isinstance(record, LinkInfo) and (record.deleted or not record.up)
        return gone and bool(self._found)

    def report(self) -> Mapping[str, str]:
        """What is there now, with the command that shows it; called in any thread."""
        return self._found

    def once(self) -> float:
        """One look; returns the seconds it took.

        Raises:
            OverlayError: the kernel cannot be read, or the reconcile loop does not answer.
        """
        stance = self._stance()
        if stance is None:
            return 0.0
        self._needs = needs = Needs(*stance)
        begun = time.monotonic()
        now = look(self._netlink, needs)
        took = time.monotonic() - begun
        self._tell(now)
        return took

    def _tell(self, now: list[Obstacle]) -> None:
        present = {it.what: it.why for it in now}
        for what, why in present.items():
            if what not in self._found:
                log.warning("in the way, and not ours: %s: %s", what, why)
        gone = self._found.keys() - present.keys()
        for what in sorted(gone):
            log.info("no longer in the way: %s", what)
        self._found = present
        if gone:
            self._freed()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            if self._news.wait(self.every_s) and self._stopping.wait(SETTLE_S):
                return
            self._news.clear()
            took = 0.0
            try:
                took = self.once()
            except OverlayError as error:
                log.info("what stands in the way cannot be looked at, trying again: %s", error)
            self._stopping.wait(max(LEAST_PAUSE_S, took * SHARE))
