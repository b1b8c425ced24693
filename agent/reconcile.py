"""The only writer of peer state: what etcd says and what the kernel holds, made to agree.

Theory of operation. Three maps: `leases` (what etcd says, last good value per key), `wanted.want` (what
follows from it) and `have` (a mirror of what the kernel holds, updated from acknowledgements and
corrected by a full read now and then). An event changes `leases` and marks its owner dirty; `tick`
plans the dirty owners only, applies, and keeps what failed dirty with a backoff of its own, so that one
bad peer never holds up its siblings. Start-up and repair are the same path: read all, mark what
differs, apply.

The gate: until a complete Snapshot has been seen and this node holds a lease, nothing is touched.

Not thread-safe on purpose: one thread owns it (agent.loop).
"""

import logging
import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from agent.events import Event, Gone, Put, Snapshot, Unreadable
from overlay.desired import Me, desired_node, desired_peer, reserved
from overlay.errors import ForeignObject, OverlayError
from overlay.model import Action, KernelObject, Lease, Network, Step
from overlay.plan import plan, record
from overlay.wanted import NODE, Wanted

log = logging.getLogger(__name__)

STALE = "(stale)"
"""The owner of what nobody wants: left behind by an earlier life of this node."""
RETRY_FIRST_S, RETRY_MOST_S = 0.5, 60.0
AT_ONCE_AGAIN = 5
"""A device made anew loses its routes and neighbours, so the kernel is read again; so often in a row."""
GAP_FIRST_S, GAP_MOST_S, CALM_S = 0.3, 30.0, 10.0
"""Pause between two repairs asked for by events: doubles while somebody keeps undoing ours."""


class Kernel(Protocol):
    """What the reconciler needs of overlay.dataplane.Dataplane."""

    @property
    def changes(self) -> int:
        """State-changing operations the kernel has accepted since the process began."""

    def read(self, want: Mapping[Hashable, KernelObject]) -> dict[Hashable, KernelObject]:
        """Everything in the kernel that bears our mark."""

    def apply(self, steps: list[Step]) -> list[OverlayError | None]:
        """Carry out steps in order; one result per step."""


@dataclass(slots=True)
class _Dirty:
    keys: set[Hashable] = field(default_factory=set)
    due: float = 0.0
    attempts: int = 0
    error: str = ""


class Reconciler:
    """Makes the kernel equal to the leases. ``clock`` is monotonic, in seconds."""

    def __init__(self, kernel: Kernel, *, clock: Callable[[], float], resync_s: float) -> None:
        self.leases: dict[str, Lease] = {}
        self.unreadable: dict[str, str] = {}
        self.me: Me | None = None
        self.network: Network | None = None
        self.revision = 0
        self.synced_once = False
        self.mended = 0
        self.last_mended: list[str] = []
        self._kernel = kernel
        self._clock = clock
        self._resync_s = resync_s
        self._wanted = Wanted()
        self._have: dict[Hashable, KernelObject] = {}
        self._dirty: dict[str, _Dirty] = {}
        self._snapshot_seen = False
        self._next_resync = 0.0
        self._in_a_row = 0
        self._fights = 0
        self._last_mend = 0.0
        self._was_in_sync = False

    # --- what comes in ---------------------------------------------------------------------------

    def set_node(self, network: Network, me: Me) -> None:
        """This node holds a lease (or another one than before): everything is judged anew."""
        self.network, self.me = network, me
        self._wanted = Wanted()
        self._wanted.reserve(reserved(me))
        self._touch(NODE, self._wanted.claim(NODE, age=-1, objects=desired_node(network, me)))
        for lease in self.leases.values():
            self._want_peer(lease)
        self._next_resync = self._clock()

    def on_event(self, event: Event) -> None:
        """Take in what the watch says; touches no kernel."""
        match event:
            case Snapshot():
                self._on_snapshot(event)
            case Put(lease):
                self.unreadable.pop(lease.key, None)
                self._put(lease)
            case Gone(key, revision):
                self.revision = max(self.revision, revision)
                self.unreadable.pop(key, None)
                self._gone(key)
            case Unreadable(key, why):
                log.warning("lease record unreadable, the last good one stays key=%s why=%s", key, why)
                self.unreadable[key] = why
            case _:
                assert_never(event)

    def kernel_changed(self, after_s: float = 0.0) -> None:
        """Something else touched the kernel: read all of it soon."""
        gap = min(GAP_MOST_S, GAP_FIRST_S * 2 ** min(self._fights, 10)) if self._fights else 0.0
        self._next_resync = min(self._next_resync, max(self._clock() + after_s, self._last_mend + gap))

    def explains(self, item: KernelObject, *, deleted: bool) -> bool:
        """True if an event about one of our objects only says what we want anyway."""
        wanted = self._wanted.want.get(item.key)
        return wanted is None if deleted else wanted == item

    # --- what goes out ---------------------------------------------------------------------------

    @property
    def waiting_for(self) -> str:
        """Why nothing may be touched yet; empty once the gate is open."""
        if self.me is None:
            return "this node's lease"
        return "" if self._snapshot_seen else "the first complete list of leases"

    @property
    def in_sync(self) -> bool:
        """True if the kernel holds all that is wanted, as far as we know."""
        return self.synced_once and not self._dirty and not self.waiting_for

    @property
    def changes(self) -> int:
        """State-changing operations the kernel has accepted from this process."""
        return self._kernel.changes

    def peers(self) -> list[Lease]:
        """Every other node's lease."""
        mine = self.me.lease_key if self.me else None
        return [lease for key, lease in sorted(self.leases.items()) if key != mine]

    def trouble(self) -> dict[str, str]:
        """What is wrong, by lease key (or NODE): failed changes and claims that lost to an older lease."""
        found = {who: f"claims what {winner} holds" for who, winner in self._wanted.losers.items()}
        found |= {who: dirty.error for who, dirty in self._dirty.items() if dirty.error}
        return found

    def plan(self) -> list[Step]:
        """What would be changed now, from a fresh look at the kernel; changes nothing."""
        if self.waiting_for:
            return []
        return plan(self._wanted.want, self._kernel.read(self._wanted.want))

    def tick(self) -> float:
        """Do what is due; returns the seconds until something is due again."""
        now = self._clock()
        if self.waiting_for:
            return self._resync_s
        if now >= self._next_resync:
            try:
                self._resync(now)
            except OverlayError as error:
                self._next_resync = now + RETRY_FIRST_S
                log.warning("kernel state cannot be read, trying again: %s", error)
                return RETRY_FIRST_S
        due = {who: dirty for who, dirty in self._dirty.items() if dirty.due <= now}
        if due:
            self._apply(due, now)
        if not self._dirty and self._next_resync > now:
            self._in_a_row = 0
        self._note_sync()
        waits = [dirty.due - now for dirty in self._dirty.values()]
        return max(0.0, min([self._next_resync - now, *waits]))

    # --- inside ----------------------------------------------------------------------------------

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        before = len(self.leases)
        for key in self.leases.keys() - snapshot.leases.keys() - snapshot.unreadable.keys():
            self._gone(key)
        for lease in snapshot.leases.values():
            self._put(lease)
        self.unreadable = dict(snapshot.unreadable)
        self.revision = snapshot.revision
        if not self._snapshot_seen or before != len(self.leases):
            log.info("leases listed leases=%d unreadable=%d", len(self.leases), len(self.unreadable))
        self._snapshot_seen = True

    def _put(self, lease: Lease) -> None:
        before = self.leases.get(lease.key)
        self.leases[lease.key] = lease
        self.revision = max(self.revision, lease.mod_revision)
        same = before is not None and before.content() == lease.content()
        if same and before is not None and before.create_revision == lease.create_revision:
            return
        if self._snapshot_seen and self.me is not None and not self._is_me(lease.key):
            word = "changed" if before else "joined"
            log.info("peer %s node=%s lease=%s", word, lease.node or "(no name)", lease.key)
        self._want_peer(lease)

    def _gone(self, key: str) -> None:
        lease = self.leases.pop(key, None)
        if lease is None or self._is_me(key):
            return
        log.info("peer left node=%s lease=%s", lease.node or "(no name)", key)
        self._touch(key, self._wanted.claim(key, age=lease.create_revision, objects=()))

    def _is_me(self, key: str) -> bool:
        return self.me is not None and key == self.me.lease_key

    def _want_peer(self, lease: Lease) -> None:
        if self.me is None or self.network is None or self._is_me(lease.key):
            return
        objects = desired_peer(self.network, self.me, lease)
        losing = lease.key in self._wanted.losers
        touched = self._wanted.claim(lease.key, age=lease.create_revision, objects=objects)
        self._touch(lease.key, touched)
        if lease.key in self._wanted.losers and not losing:
            rival = self._wanted.losers[lease.key]
            log.warning("peer not programmed, an older lease holds what it claims lease=%s holder=%s", lease.key, rival)

    def _touch(self, owner: str, keys: Iterable[Hashable]) -> None:
        dirty = self._dirty.setdefault(owner, _Dirty())
        dirty.keys.update(keys)
        dirty.due = self._clock()

    def _resync(self, now: float) -> None:
        want = self._wanted.want
        have = self._kernel.read(want)
        differing = [key for key in want.keys() | have.keys() if want.get(key) != have.get(key)]
        if self.synced_once:
            known = {key for dirty in self._dirty.values() for key in dirty.keys}
            self._log_drift([key for key in differing if key not in known], have)
        self._have = have
        for key in differing:
            dirty = self._dirty.setdefault((self._wanted.owners(key) or (STALE,))[0], _Dirty(due=now))
            dirty.keys.add(key)
        self._next_resync = now + self._resync_s * random.uniform(0.9, 1.1)  # noqa: S311 - spread, not secret

    def _log_drift(self, keys: list[Hashable], have: Mapping[Hashable, KernelObject]) -> None:
        if not keys:
            return
        now = self._clock()
        self._fights = self._fights + 1 if now - self._last_mend < CALM_S else 1
        self._last_mend = now
        steps = plan(self._wanted.want, have, keys)
        self.mended += len(steps)
        self.last_mended = [str(step) for step in steps[:20]]
        log.warning("kernel differed from what we set, mending changes=%d first=%r", len(steps), str(steps[0]))

    def _apply(self, due: dict[str, _Dirty], now: float) -> None:
        """Make first, remove second; an owner whose making failed keeps its old objects until it succeeds."""
        owner_of = {key: who for who, dirty in due.items() for key in dirty.keys}
        steps = plan(self._wanted.want, self._have, owner_of)
        failed: dict[str, OverlayError] = {}
        for making in (True, False):
            part = [
                step
                for step in steps
                if (step.action is not Action.DELETE) is making and owner_of[step.object.key] not in failed
            ]
            for step, error in zip(part, self._kernel.apply(part) if part else [], strict=True):
                if error is None:
                    record(self._have, step)
                    log.debug("done: %s", step)
                else:
                    failed.setdefault(owner_of[step.object.key], error)
        for who, dirty in due.items():
            self._settle(who, dirty, failed.get(who), now)
        self._report(failed)
        made_link = any(step.object.key[0] == "link" for step in steps if isinstance(step.object.key, tuple))
        if made_link and self._in_a_row < AT_ONCE_AGAIN:
            self._in_a_row += 1
            self._next_resync = now

    def _settle(self, who: str, dirty: _Dirty, error: OverlayError | None, now: float) -> None:
        if error is None:
            self._dirty.pop(who, None)
            return
        dirty.attempts += 1
        pause = min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** min(dirty.attempts, 10))
        dirty.due = now + pause * random.uniform(0.5, 1.0)  # noqa: S311 - spread, not secret
        dirty.error = str(error)
        if not isinstance(error, ForeignObject):  # the mirror may be wrong: look again before the next try
            self.kernel_changed(after_s=pause / 2)

    def _report(self, failed: dict[str, OverlayError]) -> None:
        fresh = {who: error for who, error in failed.items() if self._dirty[who].attempts == 1}
        if fresh:
            who, error = next(iter(fresh.items()))
            log.warning("change refused, will retry owners=%d first=%s: %s %s", len(fresh), who or "node", error, error.hint)

    def _note_sync(self) -> None:
        if not self._dirty and not self.synced_once:
            if self._next_resync <= self._clock():
                return  # a link was just made: only the read that follows can tell
            self.synced_once = True
        if self.in_sync and not self._was_in_sync:
            log.info("in sync peers=%d changes=%d", len(self.peers()), self.changes)
        elif not self.in_sync and self._was_in_sync:
            log.info("not in sync waiting=%d", len(self._dirty))
        self._was_in_sync = self.in_sync
