"""Keeping a lease: renew it without a new revision, and hear when it has to be claimed again.

Renewals count on a clock that nobody sets. An etcd that is away is no reason to stop: the retry policy is
agent.retry's, and what is held stays held until etcd itself says that it is lost.
"""

import enum
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from agent import retry
from agent.etcdhealth import CALLS, EtcdHealth
from agent.events import Event, Gone, Snapshot
from agent.lastgood import LastGood
from agent.moment import boot_clock
from agent.registry import Claimed, Registry
from agent.storehealth import StoreHealth
from agent.tenure import Tenure
from overlay.errors import LeaseLost, OverlayError
from overlay.model import Lease

log = logging.getLogger(__name__)

RENEW_MOST_S = 600.0
"""Renewing more often than the TTL needs shows a lost lease early; it costs etcd no revision."""
SETTLE_S = 0.2
"""Addresses change in groups: one goes, one comes; agent.footing has waited once already."""
LOOK_AGAIN_S = 5.0
"""While there is no usable underlay: a route may come back without an address doing so."""


class Order(enum.Enum):
    """What wakes the life's thread while it keeps a lease."""

    LOST = "the key is gone"
    AGAIN = "claim again, quietly: what is held may not be what etcd says"
    LOOK = "the underlay may be another one"


class Keeper:
    """``keep`` runs in the life's thread, orders come from any. ``ttl_s`` is the one granted last."""

    def __init__(
        self,
        registry: Registry,
        health: EtcdHealth,
        tenure: Tenure,
        last_good: LastGood,
        *,
        stopping: threading.Event,
        ttl_s: float,
    ) -> None:
        self.ttl_s = ttl_s
        self.underlay_trouble = ""
        self.store = StoreHealth(registry.member, clock=time.monotonic)
        self._registry, self._health = registry, health
        self._tenure, self._last_good = tenure, last_good
        self._stopping = stopping
        self._looking = False
        self._unseen = True
        """What happened to the key between the claim's look at it and now, the watch could not know to be ours."""
        self._complaint = ""
        self._orders: queue.SimpleQueue[tuple[Order | None, str]] = queue.SimpleQueue()

    def order(self, order: Order | None, why: str = "") -> None:
        """Wake the keeping; None only has it look whether it is to end, or to renew. ``why`` goes with LOST."""
        self._orders.put((order, why))

    def look_at_underlay(self) -> None:
        """An address of the underlay came or went: look soon."""
        if not self._looking:
            self._looking = True
            self._orders.put((Order.LOOK, ""))

    def forget_orders(self) -> None:
        """They were about the lease of before."""
        self._looking = False
        while not self._orders.empty():
            self._orders.get_nowait()

    def let_go(self, lease: Lease) -> None:
        """Of a lease that nobody wants any more; where etcd does not answer, its TTL ends it."""
        with suppress(OverlayError):
            self._registry.release(lease)

    def keep(
        self,
        held: Callable[[], Claimed | None],
        *,
        moved: Callable[[], str],
        drained: Callable[[Claimed], bool],
    ) -> str:
        """Until the lease has to be claimed again, or we stop. Returns why it is lost; empty if it is not.

        ``held`` says what is held now (its etcd lease may become another one), None once it was given back.
        ``moved`` says how the underlay differs from the one that was claimed with; it may raise OverlayError.
        ``drained`` says that an old subnet can be given back.
        """
        due, under, pauses = 0.0, 0, retry.Pauses()
        self._unseen = True
        while not self._stopping.is_set() and (claimed := held()) is not None:
            often = bool(self.underlay_trouble or claimed.draining)
            order, why = self._next_order(due - time.monotonic(), often=often)
            if order is Order.LOST:
                return why or "its key was deleted"
            if order is Order.AGAIN:
                return ""
            if (order is Order.LOOK or self.underlay_trouble) and self._has_moved(moved):
                return ""
            if claimed.draining and drained(claimed):
                return ""
            claimed = held()
            if claimed is not None and claimed.lease.etcd_lease != under:
                under = claimed.lease.etcd_lease
                due = 0.0  # its time may be up long before ours was
            if time.monotonic() >= due and not self._stopping.is_set() and claimed is not None:
                try:
                    due = time.monotonic() + self._renew(claimed, pauses)
                except LeaseLost as error:
                    return str(error)
        return ""

    def _next_order(self, wait_s: float, *, often: bool) -> tuple[Order | None, str]:
        most = LOOK_AGAIN_S if often else RENEW_MOST_S
        try:
            return self._orders.get(timeout=max(0.0, min(wait_s, most)))
        except queue.Empty:
            return None, ""

    def _renew(self, claimed: Claimed, pauses: retry.Pauses) -> float:
        """Returns the seconds until the next time."""
        asked_at = boot_clock()
        try:
            ttl = self._registry.keep(claimed.lease, look=self._unseen)
            self._unseen = False
            self._renew_old(claimed.draining)
        except LeaseLost:
            raise
        except OverlayError as error:
            self._health.lost(CALLS, str(error))
            level = logging.DEBUG if str(error) == self._complaint else logging.WARNING
            log.log(level, "lease not renewed, trying again: %s", error)
            self._complaint = str(error)
            return min(pauses.failed(), max(1.0, self.ttl_s / 6))
        self.ttl_s, self._complaint = ttl, ""
        pauses.progressed()
        self._health.back(CALLS)
        self._tenure.renewed(ttl, asked_at=asked_at)
        self._last_good.renewed(ttl, age_s=self._tenure.age_s)
        self.store.renewed()
        return min(ttl / 3 or RENEW_MOST_S, RENEW_MOST_S) * random.uniform(0.8, 1.0)

    def _renew_old(self, draining: Sequence[Lease]) -> None:
        for lease in draining:
            try:
                self._registry.keep(lease)
            except LeaseLost as error:
                log.warning("the old subnet %s was lost before its pods: %s", lease.key, error)
                self.order(Order.AGAIN)
            except OverlayError as error:  # our own is renewed; this one is due again with it
                log.warning("the old subnet %s was not renewed: %s", lease.key, error)

    def _has_moved(self, moved: Callable[[], str]) -> bool:
        """True if the lease has to be written anew for another underlay."""
        if self._stopping.wait(SETTLE_S):
            return False
        self._looking = False
        try:
            change = moved()
        except OverlayError as error:
            if str(error) != self.underlay_trouble:
                log.warning(
                    "the underlay is gone, everything stays as it is: %s; look: overlayctl doctor",
                    error,
                )
            self.underlay_trouble = str(error)
            return False
        if self.underlay_trouble and not change:
            log.info("the underlay is back as it was")
        self.underlay_trouble = ""
        if change:
            log.warning("the underlay changed, telling the peers: %s", change)
            self._registry.reconnect()
        return bool(change)


def order_in(event: Event, claimed: Claimed | None) -> Order | None:
    """What an event means for our own lease. Revisions are compared within one history only."""
    if claimed is None or claimed.how == "remembered":
        return None
    own = claimed.lease
    match event:
        case Gone(key, revision) if key == own.key and revision > own.mod_revision:
            return Order.LOST
        case Gone(key, revision):
            old = (it for it in claimed.draining if it.key == key and revision > it.mod_revision)
            return Order.AGAIN if any(old) else None
        case Snapshot(leases, unreadable, revision, history_lost):
            if own.key not in leases and own.key not in unreadable:
                return Order.LOST if history_lost or revision >= own.mod_revision else None
            there = leases.keys() | unreadable.keys()
            old = (it for it in claimed.draining if revision >= it.mod_revision)
            return Order.AGAIN if history_lost or any(it.key not in there for it in old) else None
        case _:
            return None


def lost_with_history(event: Event) -> str:
    """Why our record is gone, if nobody took it away."""
    lost = isinstance(event, Snapshot) and event.history_lost
    return "etcd lost its history, and our record with it" if lost else ""
