"""What this node stands on, followed while it runs: the underlay's MTU, and later what else is local.

These facts concern nobody but this node, so they are followed without etcd, in any state of the lease. Another
address or another interface is another matter: peers know it by our record, and the life's keeper has to write
that anew; it is only told to look.

One thread with a netlink socket of its own. It looks when the kernel says that something of the underlay changed,
and every ``every_s`` seconds in case an event was lost.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from agent.loop import Loop
from agent.reconcile import Reconciler
from overlay.desired import Me
from overlay.errors import OverlayError
from overlay.model import Network

log = logging.getLogger(__name__)

SETTLE_S = 0.2
"""Changes come in groups: an address goes and comes, a link goes down and up."""
ASK_TIMEOUT_S = 10.0
Stance = tuple[Network, Me]


class Ground(Protocol):
    """What is asked about the underlay; each may raise any OverlayError. ``tight``: a family without room, or empty."""

    tight: str

    def moved(self, me: Me) -> str:
        """How the underlay differs from the one ``me`` stands on; empty if it does not."""

    def refreshed(self, network: Network, me: Me) -> Me:
        """``me`` with the local facts of now, its address and interface being the same."""


class Footing:
    """``moved`` is told that the lease may have to be written anew; it must be quick."""

    def __init__(
        self, ground: Ground, loop: Loop, *, moved: Callable[[], None], every_s: float
    ) -> None:
        self.trouble = ""
        """Why (some of) the local facts are those of before; empty if they are those of now."""
        self._ground, self._loop = ground, loop
        self._moved, self._every_s = moved, every_s
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="footing", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._news.set()

    def look(self) -> None:
        """Something of the underlay changed: look soon."""
        self._news.set()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            if self._news.wait(self._every_s) and self._stopping.wait(SETTLE_S):
                return
            self._news.clear()
            try:
                self.once()
            except OverlayError as error:
                log.info("the underlay cannot be looked at, trying again: %s", error)

    def once(self) -> None:
        """One look.

        Raises:
            NotReady: the reconcile loop does not answer.
        """
        stance = self._loop.ask(_stance, timeout_s=ASK_TIMEOUT_S)
        if stance is None:
            return
        network, me = stance
        try:
            if self._ground.moved(me):
                self._moved()
                return
            now = self._ground.refreshed(network, me)
        except OverlayError as error:
            if str(error) != self.trouble:
                log.warning("the underlay does not serve, all stays as it was: %s", error)
            self.trouble = str(error)
            self._moved()  # who looks again until there is one
            return
        self.trouble = self._ground.tight
        if now != me:
            log.warning("the underlay changed, following: %s", _difference(me, now))
            self._loop.post(lambda reconciler: _stand(reconciler, network, me, now))


def _stance(reconciler: Reconciler) -> Stance | None:
    if reconciler.network is None or reconciler.me is None:
        return None
    return reconciler.network, reconciler.me


def _stand(reconciler: Reconciler, network: Network, before: Me, now: Me) -> None:
    """In the loop's thread; a lease that was claimed meanwhile knows better."""
    if reconciler.me == before and reconciler.network == network:
        reconciler.set_node(network, now)


def _difference(before: Me, now: Me) -> str:
    pairs = zip(before.vteps, now.vteps, strict=True)
    words = [f"{new.link} mtu {old.mtu} -> {new.mtu}" for old, new in pairs if old.mtu != new.mtu]
    return ", ".join(words) or "other networks are on link"
