"""What of this node is kept right without etcd, each in a thread of its own: the underlay's facts (`agent.footing`),
the pods' links (`agent.podlinks`), checksum offload (`agent.selftest`), what others put in the way (`agent.inway`),
whether packets reach the peers (`agent.probes`, off by default). Joined here for the daemon."""

from collections.abc import Callable, Mapping, Sequence

from agent.config import Config
from agent.drifthistory import History
from agent.footing import ASK_TIMEOUT_S, Footing, Ground, stance
from agent.inway import InWay
from agent.loop import Loop
from agent.podlinks import PodLinks
from agent.probes.prober import Prober
from agent.reconcile import Reconciler
from agent.selftest import SelfTest
from overlay.netlink import Netlink
from overlay.netlink.parse import Record
from overlay.wanted import NODE


class Upkeep:
    """``moved`` is told that the lease may have to be written anew."""

    def __init__(
        self,
        config: Config,
        loop: Loop,
        ground: Ground,
        *,
        history: History,
        moved: Callable[[], None],
    ) -> None:
        self._footing = Footing(ground, loop, moved=moved, every_s=config.resync_interval)
        self.links = PodLinks(config.run_dir, config.bridge)
        self.links.undone = history.pods
        history.fights = self.links.fights
        self._selftest = SelfTest(config.run_dir, loop, enabled=config.checksum_test)
        self._in_way = InWay(
            Netlink(),
            stance=lambda: loop.ask(stance, timeout_s=ASK_TIMEOUT_S),
            freed=lambda: loop.post(lambda reconciler: reconciler.hurry()),
            every_s=config.resync_interval,
        )
        self.more_notices: Callable[[], Sequence[str]] = tuple
        """Of other parts, for the status."""
        self.probes = Prober(loop, interval_s=config.probe_interval, prefix=config.etcd_prefix)
        self._parts = (self._footing, self.links, self._selftest, self._in_way, self.probes)

    def start(self) -> None:
        """Begin; returns at once."""
        for part in self._parts:
            part.start()

    def stop(self) -> None:
        """End the threads."""
        for part in self._parts:
            part.stop()

    def follow(self, config: Config) -> None:
        """Other settings; from the next pause on."""
        self._footing.every_s = self._in_way.every_s = config.resync_interval
        self.probes.follow(config.probe_interval)

    def held(self) -> None:
        """This node holds a lease: its underlay may have changed before anybody listened."""
        self._footing.look()
        self._in_way.look()

    def underlay_changed(self, *, hurry: bool = True) -> None:
        """By kernelwatch."""
        self._footing.look(hurry=hurry)

    def heard(self, records: list[Record] | None) -> None:
        """What kernelwatch has read."""
        self.links.heard(records)
        self._selftest.heard(records)
        self._in_way.heard(records)

    def turned(self, reconciler: Reconciler) -> None:
        """In the loop's thread after each round: pods get a larger MTU only once the node's devices have it."""
        me = reconciler.me
        if me is not None and reconciler.synced_once:
            smaller = not self.links.fits or me.pod_mtu < self.links.fits
            if smaller or (me.pod_mtu > self.links.fits and NODE not in reconciler.trouble()):
                self.links.give(me.pod_mtu)
        self._selftest.turned(reconciler)

    def trouble(self) -> Mapping[str, str]:
        """For ``overlayctl status``: what keeps this node from following its underlay, what is in its way, and which
        peers its packets do not reach."""
        why = self._footing.trouble
        found = {"mtu": f"{why}; what there is stays as it is"} if why else {}
        if self._footing.dark:
            found["underlay"] = f"no packet reaches any peer: {self._footing.dark}"
        found |= {f"in the way: {what}": it for what, it in self._in_way.report().items()}
        return found | self.probes.trouble()

    def notices(self) -> Sequence[str]:
        """Worth knowing, and in order."""
        return [*self._selftest.notices, *self.more_notices()]

    def offload(self) -> Mapping[str, str]:
        """What is known of checksum offload, by device."""
        return self._selftest.facts()
