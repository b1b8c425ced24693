"""This node's life with etcd: wait for the config, hold a lease, keep it, hear of the others.

Two threads, both ended by ``stop``: `life` claims and renews, `watch` carries events to the reconcile
loop. What they wait for is always in ``cause``, in words an operator can act on; nothing here ever
touches the kernel, and no failure of etcd ends the process.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import tenacity

from agent.events import Event, Gone, Snapshot
from agent.registry import Claimed, Registry
from agent.storehealth import StoreHealth
from overlay.desired import Me
from overlay.errors import LeaseLost, NotReady, OverlayError
from overlay.model import Network

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_MOST_S = 5.0
RENEW_MOST_S = 600.0
"""Renewing more often than the TTL needs shows a lost lease early; it costs etcd no revision."""


class Sink(Protocol):
    """Where the life of the node is told to."""

    def held(self, network: Network, me: Me, claimed: Claimed) -> None:
        """A lease is held; ``me`` follows from it."""

    def lost(self, why: str) -> None:
        """The lease is gone; pods keep running, new ones are refused."""

    def event(self, event: Event) -> None:
        """Something changed under P/subnets."""


class Life:
    """``claim`` chooses the underlay, claims, and says who we are now; it may raise any OverlayError."""

    def __init__(
        self,
        registry: Registry,
        sink: Sink,
        claim: Callable[[Network], tuple[Me, Claimed]],
    ) -> None:
        self.cause = "starting"
        self.claimed: Claimed | None = None
        self.ttl_s = 0.0
        self.left = False
        self.etcd_state = "connecting"
        self.etcd_since = time.time()
        self.health = StoreHealth(registry.member, clock=time.monotonic)
        self._registry = registry
        self._sink = sink
        self._claim = claim
        self._stopping = threading.Event()
        self._lost = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, name="life", daemon=True),
            threading.Thread(target=self._watch, name="watch", daemon=True),
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop renewing and watching. The lease stays: whoever comes back within its TTL finds it."""
        self._stopping.set()
        self._lost.set()
        self._registry.close()

    def leave(self) -> str:
        """Give the subnet back now; the life of this process ends with it. Returns the key given back.

        Raises:
            NotReady: there is no lease to give back.
            StoreUnavailable: etcd does not answer; the lease is still held.
        """
        if self.claimed is None:
            raise NotReady(f"this node holds no lease: {self.cause}")
        claimed, self.left = self.claimed, True
        try:
            self._registry.release(claimed.lease)
        except OverlayError:
            self.left = False
            raise
        self.claimed = None
        self.cause = (
            "the lease was given back by overlayctl leave; restart overlay-agent to join again"
        )
        self._lost.set()
        log.info("lease given back lease=%s", claimed.lease.key)
        return claimed.lease.key

    @property
    def heard(self) -> tuple[float | None, int]:
        """When the watch last had a sign of life (monotonic; None: never), and the highest revision it knows."""
        return self._registry.heard_at, self._registry.store_revision

    def etcd_lost(self, why: str) -> None:
        """Told by the watch, once per outage."""
        self.etcd_state, self.etcd_since = f"unreachable: {why}", time.time()
        log.warning("etcd is away, the kernel stays as it is: %s", why)

    def etcd_back(self) -> None:
        """Told by the watch, once per outage."""
        if self.etcd_state != "connected":
            log.info("etcd answers")
            self.etcd_since = time.time()
        self.etcd_state = "connected"

    # --- the life thread ---------------------------------------------------------------------------

    def _live(self) -> None:
        network = self._until(self._network)
        while network is not None and not self._stopping.is_set() and not self.left:
            held = self._until(lambda: self._claim(network))
            if held is None:
                return
            me, claimed = held
            self.claimed, self.cause = claimed, ""
            self._lost.clear()
            log.info("lease held lease=%s how=%s", claimed.lease.key, claimed.how)
            self._sink.held(network, me, claimed)
            self._keep(claimed)

    def _network(self) -> Network:
        network = self._registry.network()
        if network is None:
            key = f"{self._registry.prefix}/config"
            raise NotReady(
                f"no network config at {key}; write it with: overlayctl init --network 10.5.0.0/16   or: "
                f'etcdctl put {key} \'{{"Network":"10.5.0.0/16","Backend":{{"Type":"vxlan"}}}}\''
            )
        self.etcd_back()
        if network.backend.direct_routing:
            log.warning("Backend.DirectRouting is not served yet: every peer is reached by tunnel")
        return network

    def _keep(self, claimed: Claimed) -> None:
        """Renew until the lease is lost or we stop; an etcd that is away is no reason to stop renewing."""
        pause = 0.0
        while not self._lost.wait(pause):
            try:
                self.ttl_s = self._registry.keep(claimed.lease)
                pause = min(self.ttl_s / 3, RENEW_MOST_S) * random.uniform(0.8, 1.0)
                pause = pause or RENEW_MOST_S
                self.health.renewed()
            except LeaseLost as error:
                self._note_lost(str(error))
                return
            except OverlayError as error:
                log.warning("lease not renewed, trying again: %s", error)
                pause = random.uniform(1.0, RETRY_MOST_S)
        if not self._stopping.is_set() and not self.left:
            self._note_lost("its key was deleted")

    def _note_lost(self, why: str) -> None:
        self.cause = f"the lease was lost: {why}; claiming again"
        self.claimed = None
        log.warning("lease lost, traffic goes on, claiming again: %s", why)
        self._sink.lost(self.cause)

    def _until(self, attempt: Callable[[], T]) -> T | None:
        """Try until it succeeds; None once we are stopping. Says each new reason once."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(OverlayError),
            wait=tenacity.wait_random_exponential(multiplier=0.3, max=RETRY_MOST_S)
            + tenacity.wait_fixed(0.2),
            sleep=tenacity.sleep_using_event(self._stopping),
            stop=tenacity.stop_when_event_set(self._stopping),
            before_sleep=self._say,
        )
        try:
            return retrying(attempt)
        except tenacity.RetryError:
            return None

    def _say(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        cause = str(error)
        if cause != self.cause:
            log.warning("waiting: %s", cause)
            hint = getattr(error, "hint", "")
            if hint:
                log.warning("  next: %s", hint)
            if "NOSPACE" in cause:
                self.health.look()
            if isinstance(error, LeaseLost):  # a freshly started agent finds the pages of its past
                self._sink.lost(cause)
        self.cause = cause

    # --- the watch thread --------------------------------------------------------------------------

    def _watch(self) -> None:
        for event in self._registry.watch(on_lost=self.etcd_lost, on_back=self.etcd_back):
            if self._stopping.is_set():
                return
            self._sink.event(event)
            if self._is_my_end(event):
                self._lost.set()

    def _is_my_end(self, event: Event) -> bool:
        claimed = self.claimed
        if claimed is None:
            return False
        match event:
            case Gone(key, revision):
                return key == claimed.lease.key and revision > claimed.lease.mod_revision
            case Snapshot(leases, unreadable, revision):
                absent = claimed.lease.key not in leases and claimed.lease.key not in unreadable
                return absent and revision >= claimed.lease.mod_revision
            case _:
                return False
