"""The roll of all leases: the last good value per key, and which of them etcd no longer vouches for.

An *orphan* is a peer that was lost together with etcd's history (restored from a backup, wiped), not by
its own leaving. It is kept, as the youngest of all, until its record is back, until a real record
contradicts it, or until one lease TTL has passed: a node that lives has claimed again by then. The same
holds for a record that came back with an older value of the same machine: what is known stays meanwhile.

No kernel, no etcd, no thread: events in, changed keys out. ``clock`` is monotonic, in seconds; ``wall`` is
for people only.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from agent.events import Gone, Put, Snapshot, Unreadable
from overlay.model import Lease

log = logging.getLogger(__name__)

YOUNGEST = 1 << 64
"""Added to an orphan's age: etcd's revisions are 64 bits, so any real record is older."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """``lost_at`` is wall time, ``until`` the clock's; ``instead`` is what etcd says meanwhile, or None."""

    lost_at: float
    until: float
    instead: Lease | None = None


Kept = Mapping[str, tuple[float, float]]
"""Orphans as they outlive a process: key to (wall time of the loss, seconds that are left to them)."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a process knew, or an earlier life of it: leases, the store's revision, and which are orphans."""

    leases: Mapping[str, Lease]
    revision: int
    kept: Kept


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value or age is another one now. ``before`` and ``after`` are None for "not there"."""

    key: str
    before: Lease | None
    after: Lease | None


class Roll:
    """``keep_s`` is for how long an orphan is kept. ``version`` grows with every change."""

    def __init__(
        self, *, clock: Callable[[], float], wall: Callable[[], float], keep_s: float
    ) -> None:
        self.leases: dict[str, Lease] = {}
        self.unreadable: dict[str, str] = {}
        self.orphans: dict[str, Orphan] = {}
        self.revision = 0
        self.version = 0
        self.complete = False
        """A real Snapshot was seen: what is missing here is really missing."""
        self.remembered = False
        """Leases of an earlier life stand in for the first Snapshot."""
        self._clock, self._wall, self._keep_s = clock, wall, keep_s
        self._soonest = inf
        """No orphan's time is up before; asked every round, and all peers may be orphans."""

    def age(self, lease: Lease) -> int:
        """For overlay.wanted: low is old."""
        return lease.create_revision + (YOUNGEST if lease.key in self.orphans else 0)

    def remember(self, past: Past) -> list[Change]:
        """Take what an earlier life knew, unless etcd has already spoken."""
        if self.complete:
            return []
        self.remembered, self.revision = True, past.revision
        changes = [change for lease in past.leases.values() for change in self._put(lease)]
        for key, (lost_at, left_s) in past.kept.items():
            if key in past.leases and left_s > 0:
                self._keep(key, Orphan(lost_at, self._clock() + min(left_s, self._keep_s)))
        return self._changes(changes)

    def past(self) -> Past:
        """What a later life may need to know: a copy."""
        now = self._clock()
        kept = {key: (it.lost_at, it.until - now) for key, it in self.orphans.items()}
        return Past(dict(self.leases), self.revision, kept)

    def take(self, event: Snapshot | Put | Gone | Unreadable) -> list[Change]:
        """What follows from an event of the watch."""
        match event:
            case Snapshot():
                return self._changes(self._on_snapshot(event))
            case Put(lease):
                self.unreadable.pop(lease.key, None)
                self.revision = max(self.revision, lease.mod_revision)
                return self._changes(self._put(lease))
            case Gone(key, revision):
                self.unreadable.pop(key, None)
                self.revision = max(self.revision, revision)
                return self._changes(self._gone(key))
            case Unreadable(key, why):
                text = "lease record unreadable, the last good one stays key=%s why=%s"
                log.warning(text, key, why)
                self.unreadable[key] = why
                return []

    def expire(self) -> list[Change]:
        """Orphans whose time is up: what etcd says of them is believed now."""
        now = self._clock()
        if now < self._soonest:
            return []
        over = [(key, orphan) for key, orphan in self.orphans.items() if orphan.until <= now]
        changes = [change for key, orphan in over for change in self._settle(key, orphan)]
        self._soonest = min((orphan.until for orphan in self.orphans.values()), default=inf)
        return self._changes(changes)

    def contradicted(self, key: str) -> list[Change]:
        """A real record claims what an orphan holds: the orphan goes."""
        orphan = self.orphans.get(key)
        return self._changes(self._settle(key, orphan)) if orphan else []

    # --- inside ------------------------------------------------------------------------------------

    def _changes(self, changes: list[Change]) -> list[Change]:
        self.version += bool(changes)
        return changes

    def _on_snapshot(self, snapshot: Snapshot) -> list[Change]:
        before, first = len(self.leases), not self.complete
        kept = len(self.orphans)
        changes: list[Change] = []
        for key in self.leases.keys() - snapshot.leases.keys() - snapshot.unreadable.keys():
            if snapshot.history_lost:
                changes += self._orphan(key, None)
            elif key not in self.orphans:
                changes += self._gone(key)
        for lease in snapshot.leases.values():
            if snapshot.history_lost and self._is_older_self(lease):
                changes += self._orphan(lease.key, lease)
            else:
                changes += self._put(lease)
        self.unreadable = dict(snapshot.unreadable)
        self.revision = snapshot.revision
        self.complete = True
        if first or before != len(self.leases):
            log.info(
                "leases listed leases=%d unreadable=%d", len(self.leases), len(self.unreadable)
            )
        if len(self.orphans) > kept:
            log.warning(
                "etcd lost its history, now at revision %d: %d leases that it has no more are kept until they "
                "are back, for at most %.0f s",
                self.revision,
                len(self.orphans),
                self._keep_s,
            )
        return changes

    def _is_older_self(self, lease: Lease) -> bool:
        """The same machine's record under the same key, with other content than we know."""
        known = self.leases.get(lease.key)
        return (
            known is not None
            and bool(known.machine_id)
            and known.machine_id == lease.machine_id
            and known.content() != lease.content()
        )

    def _orphan(self, key: str, instead: Lease | None) -> list[Change]:
        known, now = self.leases[key], self._clock()
        was = self.orphans.get(key)
        until = was.until if was else now + self._keep_s
        self._keep(key, Orphan(was.lost_at if was else self._wall(), until, instead))
        return [] if was else [Change(key, known, known)]

    def _keep(self, key: str, orphan: Orphan) -> None:
        self.orphans[key] = orphan
        self._soonest = min(self._soonest, orphan.until)

    def _settle(self, key: str, orphan: Orphan) -> list[Change]:
        return self._put(orphan.instead) if orphan.instead else self._gone(key)

    def _put(self, lease: Lease) -> list[Change]:
        before = self.leases.get(lease.key)
        orphan = self.orphans.pop(lease.key, None)
        self.leases[lease.key] = lease
        if (
            before is not None
            and orphan is None
            and before.content() == lease.content()
            and before.create_revision == lease.create_revision
        ):
            return []
        return [Change(lease.key, before, lease)]

    def _gone(self, key: str) -> list[Change]:
        self.orphans.pop(key, None)
        lease = self.leases.pop(key, None)
        return [Change(key, lease, None)] if lease is not None else []
