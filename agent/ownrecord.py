"""Somebody wrote over this node's record while we hold it: who was it, and what follows.

A challenge is answered (agent/twins). A rewrite that says the same, such as flanneld's renewal or an
operator's put without a lease, is taken over: keepalives go to the lease the key has now. Another
machine that took the record while we were cut off has it: LeaseLost. Everything else is put back, once
at once and then with growing pauses, so that a fight with another writer is no storm.
"""

import contextlib
import enum
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from agent import etcd, twins
from agent.etcd import Etcd, Outcome
from agent.events import Event, Put, Snapshot, Unreadable
from agent.records import Claimed, Keys, parse_record
from agent.retry import FIRST_S, Pauses
from overlay import schema
from overlay.errors import BadRecord, LeaseLost, OverlayError
from overlay.model import Lease

log = logging.getLogger(__name__)

PAUSE_MOST_S = 300.0
QUIET_S = 2 * PAUSE_MOST_S
"""After this long without a change the next one is put back at once again."""


class Verdict(enum.Enum):
    """What a change of our own record means."""

    ACCEPT = "accept"
    ANSWER = "answer"
    RESTORE = "restore"
    TAKEN = "taken"


def judge(ours: Lease, now: Lease) -> Verdict:
    """``now`` was written over ``ours``. A takeover always brings a lease of its own (agent/claimant)."""
    elsewhere = [end.underlay for end in now.endpoints] != [end.underlay for end in ours.endpoints]
    stranger = now.machine_id != ours.machine_id or now.node != ours.node or elsewhere
    regranted = now.etcd_lease != ours.etcd_lease and now.etcd_lease != 0
    if now.machine_id and stranger and (regranted or not ours.etcd_lease):
        return Verdict.TAKEN
    same_name = now.node in ("", ours.node) and now.machine_id in ("", ours.machine_id)
    if (now.endpoints, now.backend) != (ours.endpoints, ours.backend) or not same_name:
        return Verdict.RESTORE
    return Verdict.ANSWER if now.challenge else Verdict.ACCEPT


def change_in(event: Event, claimed: Claimed | None) -> tuple[bool, Lease | None]:
    """(True, the record) if the event shows our own key written after us; None where it cannot be read."""
    if claimed is None:
        return False, None
    ours = claimed.lease
    match event:
        case Put(lease) if lease.key == ours.key:
            return lease.mod_revision > ours.mod_revision, lease
        case Snapshot(leases, unreadable) if ours.key in leases or ours.key in unreadable:
            found = leases.get(ours.key)
            return found is None or found.mod_revision > ours.mod_revision, found
        case Unreadable(key) if key == ours.key:
            return True, None
        case _:
            return False, None


class OwnRecord:
    """Keeps our record ours. Called by the watch's thread; a later restore has a thread of its own."""

    def __init__(
        self, store: Etcd, keys: Keys, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._etcd = store
        self._start = keys.start
        self._clock = clock
        self._lock = threading.Lock()
        self._restored = 0
        self._last = float("-inf")
        self._timer: threading.Timer | None = None
        self._ended = threading.Event()

    def close(self) -> None:
        """Restore nothing any more."""
        with self._lock:
            self._ended.set()
            if self._timer is not None:
                self._timer.cancel()

    def claimed_anew(self) -> None:
        """What waits to be put back is no longer what we hold."""
        self.close()
        with self._lock:
            self._ended, self._timer = threading.Event(), None

    def changed(self, claimed: Claimed, now: Lease | None) -> Claimed:
        """What we hold after our record was seen as ``now``; None if it cannot be read.

        Raises:
            LeaseLost: another machine has taken it over, or our etcd lease is gone.
            StoreUnavailable: etcd does not answer; the next change or renewal tells more.
        """
        ours = claimed.lease
        verdict = Verdict.RESTORE if now is None else judge(ours, now)
        if now is not None and verdict is Verdict.TAKEN:
            raise LeaseLost(
                f"lease {ours.key} of this node, {twins.describe(ours)}, was taken over by {twins.describe(now)} "
                f"while this node did not answer",
                hint="if both machines live, give each its own machine id and address: "
                "systemd-machine-id-setup; ip address; overlayctl leases",
            )
        if now is not None and verdict is Verdict.ACCEPT:
            return self._accept(claimed, now)
        if now is not None and verdict is Verdict.ANSWER:
            log.warning(
                "lease %s: another node asks whether this one lives: %s", ours.key, now.challenge
            )
            return self._answer(claimed, now)
        pause = self._next_pause()
        log.warning(
            "lease %s was changed by somebody else (%s), it is put back %s; look: etcdctl get %s",
            ours.key,
            "it cannot be read" if now is None else _difference(ours, now),
            f"in {pause:.0f} s" if pause else "now",
            self._start + ours.key,
        )
        if pause:
            self._later(pause, claimed)
            return claimed
        return self._restore(claimed)

    def _answer(self, claimed: Claimed, now: Lease) -> Claimed:
        try:
            return self._write(claimed, now.mod_revision, lease=now.etcd_lease)
        except OverlayError:
            self._later(FIRST_S, claimed)  # no other event will tell of the question again
            raise

    @staticmethod
    def _accept(claimed: Claimed, now: Lease) -> Claimed:
        ours = claimed.lease
        if now.etcd_lease != ours.etcd_lease:
            log.warning(
                "lease %s was written again by another agent, the same content %s",
                ours.key,
                f"under etcd lease {now.etcd_lease:x}" if now.etcd_lease else "without expiry",
            )
        return replace(claimed, lease=_as_in_etcd(ours, now.etcd_lease, now, now.mod_revision))

    def _next_pause(self) -> float:
        """0 for the first change, then 1, 2, 4 ... seconds."""
        with self._lock:
            at = self._clock()
            if at - self._last > QUIET_S:
                self._restored = 0
            self._last = at
            self._restored += 1
            return 0.0 if self._restored == 1 else min(PAUSE_MOST_S, 2.0 ** (self._restored - 2))

    def _later(self, pause_s: float, claimed: Claimed) -> None:
        """One restore waits at most; it reads the record again when its time has come."""
        with self._lock:
            if self._ended.is_set() or (self._timer is not None and self._timer.is_alive()):
                return
            arguments = [claimed, self._ended]
            self._timer = threading.Timer(pause_s, self._restore_if_needed, arguments)
            self._timer.daemon = True
            self._timer.start()

    def _restore_if_needed(self, claimed: Claimed, ended: threading.Event) -> None:
        """Until etcd has heard it. What it writes comes back by the watch, where it is accepted."""
        pauses = Pauses()
        while not ended.is_set():
            try:
                self._restore(claimed)
            except OverlayError as error:
                log.warning("lease %s is not put right yet: %s", claimed.lease.key, error)
                pauses.wait(ended)
            else:
                return

    def _restore(self, claimed: Claimed) -> Claimed:
        ours = claimed.lease
        records = self._etcd.range(self._start + ours.key).records
        if not records:
            return claimed  # its end is an event of its own
        with contextlib.suppress(BadRecord):
            now = parse_record(records[0], self._start)
            if judge(ours, now) not in (Verdict.RESTORE, Verdict.ANSWER):
                return claimed
        return self._write(claimed, records[0].mod_revision, lease=ours.etcd_lease)

    def _write(self, claimed: Claimed, revision: int, *, lease: int) -> Claimed:
        """Our content over the record of ``revision``; if it changed again, that is the next event."""
        ours, key = claimed.lease, self._start + claimed.lease.key
        outcome: Outcome = self._etcd.txn(
            [etcd.modified_at(key, revision)],
            [etcd.putting(key, schema.format_lease(ours), lease=lease)],
        )
        if not outcome.succeeded:
            return claimed
        return replace(claimed, lease=_as_in_etcd(ours, lease, ours, outcome.revision))


def _as_in_etcd(ours: Lease, lease: int, now: Lease, revision: int) -> Lease:
    return replace(
        ours,
        etcd_lease=lease,
        create_revision=now.create_revision,
        mod_revision=revision,
        challenge="",
    )


def _difference(ours: Lease, now: Lease) -> str:
    """The first thing that differs, for the log."""
    for mine, theirs in zip(ours.endpoints, now.endpoints, strict=False):
        for name in ("underlay", "mac", "vni"):
            if getattr(mine, name) != getattr(theirs, name):
                return f"{name} {getattr(mine, name)} became {getattr(theirs, name)}"
    return f"it names {twins.describe(now)}, type {now.backend!r}"
