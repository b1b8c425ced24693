"""The only writer of peer state: what etcd says and what the kernel holds, made to agree.

Theory of operation. Three maps: `roll.leases` (what etcd says, last good value per key), `wanted.want` (what follows
from it) and `have` (a mirror of what the kernel holds, updated from acknowledgements and corrected by a full read now
and then). An event changes the roll and marks its owner dirty; `tick` plans the dirty owners only, applies, and keeps
what failed dirty with a backoff of its own, so that one bad peer never holds up its siblings. Start-up and repair are
the same path: read all, mark what differs, apply.

The gate: until a complete Snapshot has been seen and this node holds a lease, nothing is touched. Leases that an
earlier life left on disk open it half: what they ask for is made, and nothing is deleted. Not thread-safe on purpose:
one thread owns it (agent.loop).
"""

import logging
import random
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace

from agent.backlog import RETRY_FIRST_S, Backlog, Entry, devices_first
from agent.culprits import Sign
from agent.demand import Demand
from agent.drift import Drift
from agent.events import Event, NetworkChanged
from agent.kernel import Kernel
from agent.mending import Mending
from agent.netnotice import NetworkNotice
from agent.roll import Past, Roll
from agent.uncollected import uncollected
from overlay.desired import Me
from overlay.errors import ForeignObject, OverlayError
from overlay.model import Action, Bridge, KernelObject, Network, Step, Vxlan
from overlay.plan import differing, plan, record

log = logging.getLogger(__name__)
_LINKS = (Vxlan, Bridge)
STALE = "(stale)"
"""The owner of what nobody wants: left behind by an earlier life of this node."""
REST = 1.0
"""After a full read so many times its length passes before events ask for the next one: half a core at most."""
AT_ONCE_AGAIN = 5
"""A device made anew loses its routes and neighbours, so the kernel is read again; so often in a row."""


class Reconciler:
    """Makes the kernel equal to the leases. ``clock`` is monotonic, in seconds; ``ttl_s`` a lease's TTL."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        clock: Callable[[], float],
        resync_s: float,
        ttl_s: float = 86400,
        drift: Drift | None = None,
    ) -> None:
        self.demand = Demand(Roll(clock=clock, wall=time.time, keep_s=ttl_s), self._touch)
        self.notice = NetworkNotice()
        self.synced_once = False
        self.drift = drift or Drift()
        self._kernel = kernel
        self._clock = clock
        self.resync_s = resync_s
        self._have: dict[Hashable, KernelObject] = {}
        self._backlog = Backlog()
        self._next_resync = self._not_before = 0.0
        self._mending = Mending(self.drift)
        self._in_a_row = 0
        self._settled = self._was_in_sync = False

    # --- what comes in ---------------------------------------------------------------------------

    def set_node(self, network: Network, me: Me) -> None:
        """This node holds a lease (or another one than before): everything is judged anew.

        Where only what is on link is another, those whose way changes: that may happen all the time.
        """
        if (network, me) == (self.network, self.me):
            return
        if network == self.network and self.me == replace(me, connected=self.demand.connected):
            self.demand.set_connected(me)
            return
        self.notice.runs_with(network)
        self._settled = False  # what differs now is our own doing, not drift
        self._mending.forget()
        self.demand.set_node(network, me)
        self._next_resync = self._clock()

    def on_event(self, event: Event) -> None:
        """Take in what the watch says; touches no kernel."""
        if isinstance(event, NetworkChanged):
            self.notice.heard(event.raw)
            return
        additive = self._additive
        self.demand.take(event)
        if additive and not self._additive:  # now what is stale may go: no drift either
            self._settled = False
            self._next_resync = self._clock()

    def remember(self, past: Past) -> None:
        """Until etcd answers: the leases of an earlier life, from disk."""
        self.demand.remember(past)

    def kernel_changed(
        self, after_s: float = 0.0, signs: Mapping[Hashable, Sign] | None = None
    ) -> None:
        """Something else touched the kernel: read all of it soon. ``signs``: what events say, by key, if they do."""
        at = max(self._clock() + after_s, self._not_before)
        if signs:
            self.drift.saw(signs, self._clock())
            pauses = [
                self.drift.paused_until(key, sign.fate, self.wants(key))
                for key, sign in signs.items()
            ]
            at = max(at, min(pauses))
            self._backlog.freed(signs, at)
        self._next_resync = min(self._next_resync, at)

    def hurry(self) -> None:
        """What stood in the way may be gone: look, and try again whatever pause was on."""
        self._backlog.hurry(self._clock())
        self.kernel_changed()

    def wants(self, key: Hashable) -> KernelObject | None:
        """What ought to stand under a key."""
        return self.demand.wanted.want.get(key)

    def explains(self, item: KernelObject, *, deleted: bool) -> bool:
        """True if an event about one of our objects only says what we want anyway."""
        wanted = self.wants(item.key)
        return wanted is None if deleted else wanted == item

    # --- what goes out ---------------------------------------------------------------------------

    @property
    def me(self) -> Me | None:
        """Who this node is; None while it holds no lease."""
        return self.demand.me

    @property
    def network(self) -> Network | None:
        """The config this node runs with."""
        return self.demand.network

    @property
    def waiting_for(self) -> str:
        """Why nothing may be touched yet; empty once the gate is open."""
        return self.demand.waiting_for

    @property
    def in_sync(self) -> bool:
        """True if the kernel holds all that is wanted, as far as we know."""
        return self._settled and not self._backlog and not self.waiting_for

    @property
    def serving(self) -> bool:
        """True if all is done that can be: only peers that others, or the kernel, refuse may be missing."""
        return self._settled and self._backlog.only_held_up and not self.waiting_for

    @property
    def changes(self) -> int:
        """State-changing operations the kernel has accepted from this process."""
        return self._kernel.changes

    def trouble(self) -> dict[str, str]:
        """What is wrong, by lease key (or NODE): failed changes and claims that lost to an older lease."""
        return self.demand.conflicts() | self._backlog.errors()

    def first_trouble(self) -> tuple[str, str]:
        """One of these, or empty; asked every round, and there may be thousands."""
        return self.demand.first_conflict() or self._backlog.first_error() or ("", "")

    def plan(self) -> list[Step]:
        """What would be changed now, from a fresh look at the kernel; changes nothing."""
        if self.waiting_for:
            return []
        want = self.demand.wanted.want
        return self._allowed(plan(want, self._kernel.read(want)))

    @uncollected()
    def tick(self) -> float:
        """Do what is due; returns the seconds until something is due again."""
        now = self._clock()
        self.demand.expire()
        if self.waiting_for:
            return self.resync_s
        looked = now >= self._next_resync
        if looked:
            try:
                self._resync(now)
            except OverlayError as error:
                self._next_resync = now + RETRY_FIRST_S
                log.warning(
                    "kernel state cannot be read, trying again: %s; look: overlayctl plan", error
                )
                return RETRY_FIRST_S
        due = devices_first(self._backlog.due(now), self.demand.wanted.want, self._have)
        if due:
            self._apply(due, now)
        if self._next_resync > now:  # else a device was made anew: it is looked at again first
            self._in_a_row = 0
            want = self.demand.wanted.want
            self._mending.tell(now, want=want, waiting=self._backlog.keys, looked=looked)
        self._note_sync()
        next_due = self._backlog.next_due()
        return max(
            0.0, min(self._next_resync, self._next_resync if next_due is None else next_due) - now
        )

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _additive(self) -> bool:
        """Nothing may be deleted: what looks stale may be a healthy peer's."""
        return not self.demand.roll.complete

    def _allowed(self, steps: list[Step]) -> list[Step]:
        additive = self._additive
        return [step for step in steps if step.action is not Action.DELETE] if additive else steps

    def _touch(self, owner: str, keys: Iterable[Hashable]) -> None:
        self._backlog.touch(owner, keys, now=self._clock())

    def _resync(self, now: float) -> None:
        want = self.demand.wanted.want
        have = self._kernel.read(want)
        read_at = self._clock()
        self._not_before = read_at + REST * (read_at - now)
        wrong = differing(want, have, additive=self._additive)
        self._next_resync = now + self.resync_s * random.uniform(0.9, 1.1)
        waiting = self._backlog.keys()  # at a start that is all there is
        if self._settled:
            wrong, pause_ends = self._mending.due(
                wrong, want, have, had=self._have, now=now, waiting=waiting
            )
            self._next_resync = min(self._next_resync, pause_ends)
        self._have = have
        for key in wrong - waiting:
            self._backlog.add((self.demand.wanted.owners(key) or (STALE,))[0], key, now=now)

    def _apply(self, due: dict[str, Entry], now: float) -> None:
        """Make first, remove second; an owner whose making failed keeps its old objects until it succeeds."""
        owner_of = {key: who for who, entry in due.items() for key in entry.keys}
        planned = plan(self.demand.wanted.want, self._have, owner_of)
        steps = self._mending.steps(self._allowed(planned))
        failed: dict[str, OverlayError] = {}
        told = log.isEnabledFor(logging.DEBUG)  # of thousands that costs more than to ask once
        links = not {type(step.object) for step in steps}.isdisjoint(_LINKS)
        delete = Action.DELETE
        for making in (True, False):
            part = [
                step
                for step in steps
                if (step.action is not delete) is making
                and not (failed and owner_of[step.object.key] in failed)
            ]
            for step, error in zip(part, self._kernel.apply(part) if part else [], strict=True):
                if error is None:
                    record(self._have, step)
                    if told:
                        log.debug("done: %s", step)
                    if links and isinstance(step.object, _LINKS) and step.action is Action.ADD:
                        self.drift.made(step.object.name, now)
                        self._backlog.hurry(now)  # what hangs on it was refused for the want of it
                else:
                    failed.setdefault(owner_of[step.object.key], error)
        for who in due:
            self._settle(who, failed.get(who), now)
        self._report(failed)
        if links and self._in_a_row < AT_ONCE_AGAIN:
            self._in_a_row += 1
            self._next_resync = now

    def _settle(self, who: str, error: OverlayError | None, now: float) -> None:
        if error is None:
            self._backlog.done(who)
            return
        pause = self._backlog.failed(who, error, now=now)
        if not isinstance(error, ForeignObject):  # the mirror may be wrong: look first
            self.kernel_changed(after_s=pause / 2)

    def _report(self, failed: dict[str, OverlayError]) -> None:
        fresh = [who for who in self._backlog.first_failures() if who in failed]
        if fresh:
            error = failed[fresh[0]]
            who = fresh[0] or "node"
            hint = f"; {error.hint}" if error.hint else ""
            text = "change refused, will retry owners=%d first=%s: %s%s"
            log.warning(text, len(fresh), who, error, hint)

    def _note_sync(self) -> None:
        if self._backlog.only_held_up and not self._settled:
            if self._next_resync <= self._clock():
                return  # a link was just made: only the read that follows can tell
            self._settled = self.synced_once = True
        if self.in_sync and not self._was_in_sync:
            log.info("in sync peers=%d changes=%d", self.demand.count, self.changes)
        elif not self.in_sync and self._was_in_sync:
            log.info("not in sync waiting=%d", len(self._backlog))
        self._was_in_sync = self.in_sync
