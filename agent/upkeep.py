"""What of this node is kept right without etcd, each in a thread of its own: the underlay's facts (`agent.footing`),
the pods' links (`agent.podlinks`), checksum offload (`agent.selftest`). Joined here for the daemon."""

from collections.abc import Callable, Mapping, Sequence

from agent.config import Config
from agent.footing import Footing, Ground
from agent.loop import Loop
from agent.podlinks import PodLinks
from agent.reconcile import Reconciler
from agent.selftest import SelfTest
from overlay.netlink.parse import Record
from overlay.wanted import NODE


class Upkeep:
    """``moved`` is told that the lease may have to be written anew."""

    def __init__(
        self, config: Config, loop: Loop, ground: Ground, *, moved: Callable[[], None]
    ) -> None:
        self._footing = Footing(ground, loop, moved=moved, every_s=config.resync_interval)
        self.links = PodLinks(config.run_dir, config.bridge)
        self._selftest = SelfTest(config.run_dir, loop, enabled=config.checksum_test)
        self._parts = (self._footing, self.links, self._selftest)

    def start(self) -> None:
        """Begin; returns at once."""
        for part in self._parts:
            part.start()

    def stop(self) -> None:
        """End the threads."""
        for part in self._parts:
            part.stop()

    def underlay_changed(self, *, hurry: bool = True) -> None:
        """By kernelwatch, or because it may have changed before anybody listened."""
        self._footing.look(hurry=hurry)

    def heard(self, records: list[Record] | None) -> None:
        """What kernelwatch has read."""
        self.links.heard(records)
        self._selftest.heard(records)

    def turned(self, reconciler: Reconciler) -> None:
        """In the loop's thread after each round: pods get a larger MTU only once the node's devices have it."""
        me = reconciler.me
        if me is not None and reconciler.synced_once:
            smaller = not self.links.fits or me.pod_mtu < self.links.fits
            if smaller or (me.pod_mtu > self.links.fits and NODE not in reconciler.trouble()):
                self.links.give(me.pod_mtu)
        self._selftest.turned(reconciler)

    def trouble(self) -> Mapping[str, str]:
        """For ``overlayctl status``: what keeps this node from following its underlay."""
        why = self._footing.trouble
        return {"mtu": f"{why}; what there is stays as it is"} if why else {}

    def notices(self) -> Sequence[str]:
        """Worth knowing, and in order."""
        return self._selftest.notices

    def offload(self) -> Mapping[str, str]:
        """What is known of checksum offload, by device."""
        return self._selftest.facts()
