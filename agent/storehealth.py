"""Is etcd about to refuse writes? Said before it bites: a database near its quota, alarms, no leader.

A full etcd (alarm NOSPACE) still renews leases and serves watches, so running nodes notice nothing; but no node
can join and none that lost its lease comes back. So the agent asks the member it talks to after each renewal
(every 10 minutes at most, at times that differ from node to node): one `Status`, answered from the member's
memory. The quota stands only in /metrics, and changes only when etcd is started anew: it is read once a day.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from agent.etcd.members import Status
from overlay.errors import OverlayError

log = logging.getLogger(__name__)

WARN_AT = 0.8
"""Of the quota. At 1.0 etcd raises NOSPACE and refuses every write until somebody acts."""
DEFAULT_QUOTA = 2 << 30
"""Bytes, where etcd does not tell: its default (etcd.io/docs, "System limits": storage size limit)."""
LEAST_S = 60.0
"""A short TTL makes renewals frequent; the member is not asked more often than this."""
QUOTA_S = 24 * 3600.0

COMPACT = "etcdctl compact $(etcdctl endpoint status -w json | grep -om1 '\"revision\":[0-9]*' | cut -d: -f2)"
MEND_SPACE = f"{COMPACT}; etcdctl defrag --cluster"
MEND_NOSPACE = f"{MEND_SPACE}; etcdctl alarm disarm"
MEND_CORRUPT = (
    "find the member whose data differ: etcdctl endpoint hashkv --cluster; replace it (etcdctl member remove, "
    "empty its data directory, etcdctl member add); then: etcdctl alarm disarm"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence for the operator, and the commands that mend it."""

    text: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.text}; to mend: {self.mend}" if self.mend else self.text


Look = Callable[[bool], tuple[Status, int | None]]
"""Ask the member in use; the quota in bytes only if True is given, else None."""


def human(size: int) -> str:
    """Bytes as people read them."""
    for unit, one in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size / 1024:.0f} KiB"


def space(status: Status, quota: int) -> Finding | None:
    """A database near its quota; ``quota`` of 0 or less means that there is none."""
    if quota <= 0 or status.size < WARN_AT * quota:
        return None
    text = (
        f"etcd's database has {human(status.size)} of its quota of {human(quota)} "
        f"({status.size / quota:.0%}, {human(status.in_use)} in use); when it is full, no node can join"
    )
    if status.in_use >= WARN_AT * quota:
        return Finding(text, f"{MEND_SPACE}; if it stays, raise --quota-backend-bytes")
    return Finding(text, MEND_SPACE)


def alarm(what: str) -> Finding:
    """An alarm that stands; ``what`` is its name or the text that has it."""
    if "NOSPACE" in what:
        return Finding(
            "etcd is full (alarm NOSPACE): it refuses every write, no node can join", MEND_NOSPACE
        )
    if "CORRUPT" in what:
        return Finding("etcd's members do not hold the same data (alarm CORRUPT)", MEND_CORRUPT)
    return Finding(f"etcd says: {what}")


def judge(status: Status, quota: int) -> tuple[Finding, ...]:
    """All that is wrong with a member, worst first."""
    found = [alarm(text) for text in status.errors]
    if not status.leader and not any("no leader" in text for text in status.errors):
        found.append(Finding("etcd has no leader"))
    near = space(status, quota)
    full = any("NOSPACE" in text for text in status.errors)
    return tuple(dict.fromkeys([*found, *([near] if near and not full else [])]))


class StoreHealth:
    """What the last look found. ``clock`` is monotonic, in seconds; any thread may call."""

    def __init__(self, look: Look, *, clock: Callable[[], float], least_s: float = LEAST_S) -> None:
        self.trouble = ""
        self._look = look
        self._clock = clock
        self._least_s = least_s
        self._lock = threading.Lock()
        self._next = clock() + least_s  # nodes that start together shall not all ask at that moment
        self._kinds: set[str] = set()
        self._quota = DEFAULT_QUOTA
        self._quota_until = float("-inf")

    def renewed(self) -> None:
        """After a renewal: time for a look, unless the last one is fresh and was good."""
        if self.trouble or self._clock() >= self._next:
            self.look()

    def soon(self) -> None:
        """A look in a thread of its own, for those who cannot wait."""
        threading.Thread(target=self.look, name="look", daemon=True).start()

    def look(self) -> None:
        """Now. An etcd that does not answer is somebody else's to report, and changes nothing here."""
        with self._lock:
            now = self._clock()
            wanted = now >= self._quota_until
            try:
                status, quota = self._look(wanted)
            except OverlayError as error:
                log.debug("etcd was not asked how it is: %s", error)
                return
            if wanted:
                self._quota = DEFAULT_QUOTA if quota is None else quota
                self._quota_until = now + QUOTA_S
            self._next = now + self._least_s
            self._say(judge(status, self._quota))

    def _say(self, found: tuple[Finding, ...]) -> None:
        kinds = {one.mend or one.text for one in found}  # the sizes differ with every look
        if kinds - self._kinds:
            for one in found:
                log.warning("%s", one.text)
                if one.mend:
                    log.warning("  next: %s", one.mend)
        elif self._kinds and not kinds:
            log.info("etcd is well again: no alarm, enough space")
        self._kinds = kinds
        self.trouble = "; ".join(str(one) for one in found)
