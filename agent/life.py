"""This node's life with etcd: wait for the config, hold a lease, keep it, hear of the others.

Two threads, both ended by ``stop``: `life` claims and renews, `watch` carries events to the reconcile
loop. What they wait for is always in ``cause``, in words an operator can act on; nothing here ever
touches the kernel, and no failure of etcd ends the process.

A start while etcd does not answer: after the first attempt the node comes up from its last-good copy, and goes
on asking. All waiting is on clocks that nobody sets.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import tenacity

from agent import retry
from agent.etcdhealth import CALLS, WATCH, EtcdHealth
from agent.events import Event, Snapshot
from agent.join import Joining, Standby
from agent.keeping import Keeper, Order, lost_with_history, order_in
from agent.lastgood import LastGood
from agent.moment import boot_clock
from agent.netnotice import missing
from agent.ownrecord import change_in
from agent.recalled import Recalled
from agent.registry import Claimed, Registry, Seen
from agent.sink import Sink
from agent.tenure import Tenure
from agent.vigil import Vigil
from overlay import netconfig
from overlay.desired import Me
from overlay.errors import BadConfig, Fatal, LeaseLost, NotReady, OverlayError, StoreUnavailable
from overlay.model import Network

log = logging.getLogger(__name__)
T = TypeVar("T")

CLAIM_S = 2.0
"""So long the watch waits for a claim: less than a machine that asks whether we live (agent.twins)."""


class Life:
    """``recalled`` is what an earlier life left, if anything; ``ttl_s`` the TTL that is asked for."""

    def __init__(
        self,
        registry: Registry,
        sink: Sink,
        joining: Joining,
        *,
        last_good: LastGood,
        recalled: Recalled | None,
        ttl_s: float,
    ) -> None:
        self.cause = "starting"
        self.claimed: Claimed | None = None
        self.left = False
        self.health = EtcdHealth(time.monotonic, time.time)
        self.tenure = Tenure(boot_clock)
        self._registry, self._sink, self._joining = registry, sink, joining
        self._last_good = last_good
        self._recalled = self._before = recalled
        self._standby: Standby | None = None
        self._raw, self._unusable, self._asked_at = b"", "", 0.0
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._deciding = threading.Lock()
        """Held while the subnet is being given back, which may fail."""
        self._claiming = threading.Lock()
        """The watch may show what a claim wrote before the claim's own answer is there."""
        self._reconnects = retry.reconnects()
        self._vigil = Vigil(registry)
        self.keeper = Keeper(
            registry, self.health, self.tenure, last_good, stopping=self._stopping, ttl_s=ttl_s
        )
        self._threads = [
            threading.Thread(target=self._live, name="life", daemon=True),
            threading.Thread(target=self._watch, name="watch", daemon=True),
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def look(self) -> None:
        """The underlay changed, or there is one now: whatever is waited for is tried at once."""
        self.keeper.look_at_underlay()
        if not self.health.fine and self._reconnects.take():
            self._registry.reconnect()  # a connection that could not be made waits before it tries again
        self._wake.set()

    def stop(self) -> None:
        """Stop renewing and watching. The lease stays: whoever comes back within its TTL finds it."""
        self._stopping.set()
        self._wake.set()
        self.keeper.order(None)
        self._registry.close()

    @property
    def heard_s_ago(self) -> float | None:
        """Seconds since the watch's last sign of life; None before the first list."""
        at = self._registry.heard_at
        return None if at is None else time.monotonic() - at

    @property
    def store_revision(self) -> int:
        """The store's highest revision that the watch has heard of."""
        return self._registry.store_revision

    @property
    def refusal(self) -> str:
        """Why this node gives no address to a new pod; empty if it does."""
        if self.claimed is None:
            return self.cause or "no lease is held"
        return self.tenure.doubt()

    def leave(self) -> str:
        """Give the subnet back now; the life of this process ends with it. Returns the key given back.

        Raises:
            NotReady: there is no lease to give back.
            StoreUnavailable: etcd does not answer; the lease is still held.
        """
        with self._deciding:
            if self.claimed is None:
                raise NotReady(f"this node holds no lease: {self.cause}", hint="overlayctl status")
            claimed, self.left = self.claimed, True
            try:
                for lease in (*claimed.draining, claimed.lease):
                    self._registry.release(lease)
            except OverlayError:
                self.left = False
                raise
            self.claimed = None
        self.tenure.ended()
        self._last_good.left()
        self.cause = "the lease was given back; restart overlay-agent to join again"
        self.keeper.order(None)
        log.info("lease given back lease=%s", claimed.lease.key)
        return claimed.lease.key

    # --- the life thread ---------------------------------------------------------------------------

    def _live(self) -> None:
        network = self._until(self._network)
        while network is not None and not self._stopping.is_set() and not self.left:
            held = self._until(lambda: self._claim(network))
            if held is None:
                return
            me, claimed = held
            self._standby = self._recalled = None
            self.tenure.renewed(self.keeper.ttl_s, asked_at=self._asked_at)
            self._last_good.held(self._raw, claimed.lease)
            self._last_good.renewed(self.keeper.ttl_s, age_s=self.tenure.age_s)
            log.info("lease held lease=%s how=%s", claimed.lease.key, claimed.how)
            self._sink.held(network, me, claimed)
            why = self.keeper.keep(
                lambda: None if self.left else self.claimed,
                moved=partial(self._joining.moved, me),
                drained=self._joining.drained,
            )
            with self._deciding:
                if why and not self.left:
                    log.warning("lease lost, traffic goes on, claiming again: %s", why)
                    self._give_up(f"the lease was lost: {why}; claiming again")

    def _take(self, claimed: Claimed) -> bool:
        """Ours from now on, unless the subnet was given back while we asked for it again."""
        with self._deciding:
            if self.left:
                self.keeper.let_go(claimed.lease)
            else:
                self.claimed, self.cause = claimed, ""
            return not self.left

    def _network(self) -> Network:
        raw = self._registry.raw_network()
        self.health.back(CALLS)
        try:
            if not raw:
                raise missing(self._registry.prefix)
            network = netconfig.parse_network(raw)
        except (BadConfig, NotReady) as error:
            if self._standby is None:
                raise
            log.warning("the network config of before is kept: %s", error)
            return self._standby.network  # a running node would keep it, too
        self._raw = raw
        return network

    def _claim(self, network: Network) -> tuple[Me, Claimed] | None:
        if self.left:
            return None
        self._asked_at = boot_clock()
        with self._claiming:
            held = self._joining.claim(network)
            self.health.back(CALLS)
            self.keeper.forget_orders()
            return held if self._take(held[1]) else None

    def _give_up(self, why: str) -> None:
        self.cause, self.claimed = why, None
        self.tenure.ended()
        self._last_good.lost(why)
        self._sink.lost(why)

    def _until(self, attempt: Callable[[], T]) -> T | None:
        """Try until it succeeds; None once we are stopping. Says each new reason once."""
        self._wake.clear()  # of before; where it was to stop, the first failure ends this
        try:
            return retry.retrying(self._stopping, wake=self._wake, before_sleep=self._say)(attempt)
        except tenacity.RetryError:
            return None

    def _say(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        cause = str(error)
        if isinstance(error, StoreUnavailable):
            self.health.lost(CALLS, cause)
        if cause != self.cause:
            log.warning("waiting: %s", cause)
            if hint := getattr(error, "hint", ""):
                log.warning("  next: %s", hint)
            if "NOSPACE" in cause:
                self.keeper.store.soon()
            if isinstance(error, LeaseLost) or (self.claimed and isinstance(error, Fatal)):
                self._give_up(cause)  # a freshly started agent finds the pages of its past
        self.cause = cause
        taken = isinstance(error, LeaseLost)
        away = isinstance(error, StoreUnavailable) or not self._raw
        if self._recalled is not None and (away or taken):
            self._come_up(self._recalled, doubt=cause if taken else "")

    def _come_up(self, recalled: Recalled, *, doubt: str) -> None:
        """From the last-good copy: etcd does not say what we need, or pods live in what is somebody else's now."""
        try:
            standby = self._joining.recall(recalled)
        except OverlayError as error:
            if str(error) != self._unusable:
                log.warning("the last-good copy cannot be used yet: %s", error)
            self._unusable = str(error)
            return
        self._recalled, self._standby, self._raw = None, standby, recalled.network
        self.keeper.ttl_s = recalled.ttl_s
        self.tenure.assumed(recalled.ttl_s, age_s=recalled.age_s, doubt=doubt or standby.doubt)
        self.claimed = Claimed(recalled.own, "remembered")
        past = recalled.past()
        log.warning(
            "coming up from the last-good copy meanwhile: lease=%s peers=%d; %s",
            recalled.own.key,
            len(past.leases.keys() - {recalled.own.key}),
            self.tenure.doubt() or "pods may be attached",
        )
        self._sink.remember(past)
        self._sink.held(standby.network, standby.me, self.claimed)

    # --- the watch thread --------------------------------------------------------------------------

    def _watch(self) -> None:
        before = self._before
        for event in self._registry.watch(
            on_lost=partial(self.health.lost, WATCH),
            on_back=self._watch_is_back,
            seen=Seen(before.cluster, before.revision) if before else None,
        ):
            if self._stopping.is_set():
                return
            if isinstance(event, Snapshot):
                if before is not None and (event.history_lost or before.kept):
                    self._sink.remember(before.past(only_kept=not event.history_lost))
                before = self._before = None  # it may hold thousands of records
            self._sink.event(event)
            if order := order_in(event, self.claimed):
                self.keeper.order(order, lost_with_history(event))
            self._watch_over(event)

    def _watch_is_back(self) -> None:
        self.health.back(WATCH)
        self._wake.set()  # what waits for etcd need not wait out its pause

    def _watch_over(self, event: Event) -> None:
        """What is held may be another record by now: written anew by us, by flanneld, by a twin."""
        # Perhaps our own doing: then it is what is held in a moment.
        if change_in(event, self.claimed)[0] and self._claiming.acquire(timeout=CLAIM_S):
            self._claiming.release()
        held = self.claimed
        claimed = None if held is None or held.how == "remembered" else held
        try:
            after = self._vigil.told(event, claimed)
        except LeaseLost as error:
            self.keeper.order(Order.LOST, str(error))
            return
        if after is not None and self.claimed is claimed:
            self.claimed = after
            if claimed is not None and after.lease.etcd_lease != claimed.lease.etcd_lease:
                self.keeper.order(None)
