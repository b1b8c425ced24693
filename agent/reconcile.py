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
from typing import assert_never

from agent.backlog import RETRY_FIRST_S, Backlog, Entry
from agent.drift import Drift
from agent.events import Event, Gone, NetworkChanged, Put, Snapshot, Unreadable
from agent.kernel import Kernel
from overlay.desired import Me, desired_node, desired_peer, reserved
from overlay.errors import ForeignObject, OverlayError
from overlay.model import Action, KernelObject, Lease, Network, Step
from overlay.plan import plan, record
from overlay.wanted import NODE, Wanted

log = logging.getLogger(__name__)

STALE = "(stale)"
"""The owner of what nobody wants: left behind by an earlier life of this node."""
AT_ONCE_AGAIN = 5
"""A device made anew loses its routes and neighbours, so the kernel is read again; so often in a row."""


class Reconciler:
    """Makes the kernel equal to the leases. ``clock`` is monotonic, in seconds."""

    def __init__(self, kernel: Kernel, *, clock: Callable[[], float], resync_s: float) -> None:
        self.leases: dict[str, Lease] = {}
        self.unreadable: dict[str, str] = {}
        self.me: Me | None = None
        self.network: Network | None = None
        self.revision = 0
        self.synced_once = False
        self.drift = Drift()
        self._kernel = kernel
        self._clock = clock
        self._resync_s = resync_s
        self._wanted = Wanted()
        self._have: dict[Hashable, KernelObject] = {}
        self._backlog = Backlog()
        self._snapshot_seen = False
        self._next_resync = 0.0
        self._in_a_row = 0
        self._was_in_sync = False

    # --- what comes in ---------------------------------------------------------------------------

    def set_node(self, network: Network, me: Me) -> None:
        """This node holds a lease (or another one than before): everything is judged anew."""
        self.network, self.me = network, me
        self.synced_once = False  # what differs now is our own doing, not drift
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
                log.warning(
                    "lease record unreadable, the last good one stays key=%s why=%s", key, why
                )
                self.unreadable[key] = why
            case NetworkChanged():
                pass  # a running node keeps the config it started with
            case _:
                assert_never(event)

    def kernel_changed(self, after_s: float = 0.0) -> None:
        """Something else touched the kernel: read all of it soon."""
        self._next_resync = min(
            self._next_resync, max(self._clock() + after_s, self.drift.not_before)
        )

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
        return self.synced_once and not self._backlog and not self.waiting_for

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
        return found | self._backlog.errors()

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
        due = self._backlog.due(now)
        if due:
            self._apply(due, now)
        if not self._backlog and self._next_resync > now:
            self._in_a_row = 0
        self._note_sync()
        next_due = self._backlog.next_due()
        return max(
            0.0, min(self._next_resync, self._next_resync if next_due is None else next_due) - now
        )

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
            log.info(
                "leases listed leases=%d unreadable=%d", len(self.leases), len(self.unreadable)
            )
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
            log.warning(
                "peer not programmed, an older lease holds what it claims lease=%s holder=%s",
                lease.key,
                rival,
            )

    def _touch(self, owner: str, keys: Iterable[Hashable]) -> None:
        self._backlog.touch(owner, keys, now=self._clock())

    def _resync(self, now: float) -> None:
        want = self._wanted.want
        have = self._kernel.read(want)
        differing = [key for key in want.keys() | have.keys() if want.get(key) != have.get(key)]
        if self.synced_once:
            known = self._backlog.keys()
            self._log_drift([key for key in differing if key not in known], have)
        self._have = have
        for key in differing:
            self._backlog.add((self._wanted.owners(key) or (STALE,))[0], key, now=now)
        self._next_resync = now + self._resync_s * random.uniform(0.9, 1.1)

    def _log_drift(self, keys: list[Hashable], have: Mapping[Hashable, KernelObject]) -> None:
        if keys:
            self.drift.mended(plan(self._wanted.want, have, keys), now=self._clock())

    def _apply(self, due: dict[str, Entry], now: float) -> None:
        """Make first, remove second; an owner whose making failed keeps its old objects until it succeeds."""
        owner_of = {key: who for who, entry in due.items() for key in entry.keys}
        steps = plan(self._wanted.want, self._have, owner_of)
        failed: dict[str, OverlayError] = {}
        for making in (True, False):
            part = [
                step
                for step in steps
                if (step.action is not Action.DELETE) is making
                and owner_of[step.object.key] not in failed
            ]
            for step, error in zip(part, self._kernel.apply(part) if part else [], strict=True):
                if error is None:
                    record(self._have, step)
                    log.debug("done: %s", step)
                else:
                    failed.setdefault(owner_of[step.object.key], error)
        for who in due:
            self._settle(who, failed.get(who), now)
        self._report(failed)
        made_link = any(
            step.object.key[0] == "link" for step in steps if isinstance(step.object.key, tuple)
        )
        if made_link and self._in_a_row < AT_ONCE_AGAIN:
            self._in_a_row += 1
            self._next_resync = now

    def _settle(self, who: str, error: OverlayError | None, now: float) -> None:
        if error is None:
            self._backlog.done(who)
            return
        pause = self._backlog.failed(who, str(error), now=now)
        if not isinstance(
            error, ForeignObject
        ):  # the mirror may be wrong: look before the next try
            self.kernel_changed(after_s=pause / 2)

    def _report(self, failed: dict[str, OverlayError]) -> None:
        fresh = [who for who in self._backlog.first_failures() if who in failed]
        if fresh:
            error = failed[fresh[0]]
            who = fresh[0] or "node"
            log.warning(
                "change refused, will retry owners=%d first=%s: %s %s",
                len(fresh),
                who,
                error,
                error.hint,
            )

    def _note_sync(self) -> None:
        if not self._backlog and not self.synced_once:
            if self._next_resync <= self._clock():
                return  # a link was just made: only the read that follows can tell
            self.synced_once = True
        if self.in_sync and not self._was_in_sync:
            log.info("in sync peers=%d changes=%d", len(self.peers()), self.changes)
        elif not self.in_sync and self._was_in_sync:
            log.info("not in sync waiting=%d", len(self._backlog))
        self._was_in_sync = self.in_sync
