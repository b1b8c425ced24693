"""What this node stands on, followed while it runs: the underlay's MTU, its name, who is on link.

These facts concern nobody but this node, so they are followed without etcd, in any state of the lease. Another
address is another matter: peers know it by our record, and the life's keeper has to write that anew; it is only
told to look.

One thread with a netlink socket of its own. It looks when the kernel says that something of the underlay changed,
and every ``every_s`` seconds in case an event was lost.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from agent.loop import Loop
from agent.reconcile import Reconciler
from agent.underlay import Hosts
from overlay.desired import Me
from overlay.errors import OverlayError
from overlay.model import Network

log = logging.getLogger(__name__)

SETTLE_S = 0.2
"""Changes come in groups: an address goes and comes, a link goes down and up."""
CHURN_S, CHURN_TIMES = 1.0, 10.0
"""Routes may change all the time: then a look no more often than this, nor than so many times what one takes."""
ASK_TIMEOUT_S = 10.0
Stance = tuple[Network, Me]


class Ground(Protocol):
    """What is asked about the underlay; each may raise any OverlayError. ``tight``: a family without room, ``dark``: an
    interface that carries nothing; or empty."""

    tight: str
    dark: str

    def hosts(self) -> Hosts:
        """One look at the kernel, for the others: on a router it costs something."""

    def moved(self, me: Me, hosts: Hosts | None = None) -> str:
        """How the underlay differs from the one ``me`` stands on; empty if it does not."""

    def refreshed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """``me`` with the local facts of now, its address being the same."""

    def stayed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """The same, as far as it can be said while there is no underlay, or another."""


class Footing:
    """``moved`` is told that the lease may have to be written anew; it must be quick."""

    def __init__(
        self,
        ground: Ground,
        loop: Loop,
        *,
        moved: Callable[[], None],
        every_s: float,
        settle_s: float = SETTLE_S,
        churn_s: float = CHURN_S,
    ) -> None:
        self.trouble = ""
        """Why (some of) the local facts are those of before; empty if they are those of now."""
        self.dark = ""
        """Which underlay carries nothing, whoever it has led to; empty if all do."""
        self._ground, self._loop = ground, loop
        self._moved, self.every_s = moved, every_s
        self._news, self._hurry = threading.Event(), threading.Event()
        self._settle_s, self._churn_s, self._not_before = settle_s, churn_s, 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="footing", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._hurry.set()
        self._news.set()

    def look(self, *, hurry: bool = True) -> None:
        """Something of the underlay changed: look soon; without ``hurry`` a second or so after the last look."""
        if hurry:
            self._hurry.set()
        self._news.set()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            told = self._news.wait(self.every_s)
            if told and not self._hurry.is_set():
                self._hurry.wait(max(0.0, self._not_before - time.monotonic()))
            if told and self._stopping.wait(self._settle_s):
                return
            self._news.clear()
            self._hurry.clear()
            begun = time.monotonic()
            try:
                self.once(told=told)
            except OverlayError as error:
                log.info("the underlay cannot be looked at, trying again: %s", error)
            now = time.monotonic()
            self._not_before = now + max(self._churn_s, CHURN_TIMES * (now - begun))

    def once(self, *, told: bool = True) -> None:
        """One look; ``told`` by an event that something happened.

        Raises:
            NotReady: the reconcile loop does not answer.
        """
        present = self._loop.ask(stance, timeout_s=ASK_TIMEOUT_S)
        if present is None:
            self._moved()  # what the claim waits for may be there now
            return
        network, me = present
        hosts = None
        try:
            hosts = self._ground.hosts()
            if self._ground.moved(me, hosts):
                self._moved()
                now = self._ground.stayed(network, me, hosts)
            else:
                now = self._ground.refreshed(network, me, hosts)
            self.trouble = self._ground.tight
        except OverlayError as error:
            if str(error) != self.trouble:
                log.warning(
                    "the underlay does not serve, all stays as it was: %s; look: overlayctl doctor",
                    error,
                )
            self.trouble = str(error)
            self._moved()  # who looks again until there is one
            now = self._ground.stayed(network, me, hosts)
        if self._ground.dark and self._ground.dark != self.dark:
            log.warning("no packet goes by the underlay: %s", self._ground.dark)
        self.dark = self._ground.dark
        if now != me:
            if difference := _difference(me, now):
                log.warning("the underlay changed, following: %s", difference)
            self._loop.post(lambda reconciler: _stand(reconciler, network, me, now))
        if told and network.backend.direct:
            # A link that went down and up has lost its routes, of which the kernel says nothing (fib_sync_down_dev).
            self._loop.post(lambda reconciler: reconciler.kernel_changed())


def stance(reconciler: Reconciler) -> Stance | None:
    """What this node is now; None while it holds no lease. In the loop's thread."""
    if reconciler.network is None or reconciler.me is None:
        return None
    return reconciler.network, reconciler.me


def _stand(reconciler: Reconciler, network: Network, before: Me, now: Me) -> None:
    """In the loop's thread; a lease that was claimed meanwhile knows better."""
    if reconciler.me == before and reconciler.network == network:
        reconciler.set_node(network, now)


def _difference(before: Me, now: Me) -> str:
    """Empty if only other networks are on link: agent.demand says whom that concerns, if anybody."""
    pairs = list(zip(before.vteps, now.vteps, strict=True))
    words = [
        f"{new.link or new.underlay} mtu {old.mtu} -> {new.mtu}"
        for old, new in pairs
        if old.mtu != new.mtu
    ]
    words += [
        f"{new.local} is on {new.underlay}, was on {old.underlay}"
        for old, new in pairs
        if old.underlay != new.underlay
    ]
    if before.strict != now.strict:
        words.append(f"rp_filter is strict on {', '.join(now.strict) or 'no underlay'}")
    return ", ".join(words)
