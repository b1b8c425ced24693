"""footing: what is local is followed without etcd, what peers must know is the life's; trouble is kept for status."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.footing import Footing
from agent.loop import Loop
from agent.reconcile import Reconciler
from agent.underlay import Hosts
from overlay.desired import Me
from overlay.errors import BadConfig
from overlay.model import Network
from tests.agent.one_node import Node
from tests.examples import ME, NETWORK

NO_HOSTS = Hosts((), (), ())


class Ground:
    """Says what it is told to; each answer has to be about what ``hosts`` has read."""

    def __init__(self) -> None:
        self.reads = 0
        self.tight = self.dark = self.elsewhere = ""
        self.mtu = ME.vteps[0].mtu
        self.room = True

    def hosts(self) -> Hosts:
        """Of which nothing is asked here; counted."""
        self.reads += 1
        return NO_HOSTS

    def moved(self, me: Me, hosts: Hosts | None = None) -> str:
        """To another interface."""
        assert hosts is NO_HOSTS
        return self.elsewhere

    def refreshed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """With another MTU."""
        assert hosts is NO_HOSTS
        if not self.room:
            raise BadConfig("underlay MTU 600 of eth0 leaves 550 bytes")
        return replace(me, vteps=tuple(replace(vtep, mtu=self.mtu) for vtep in me.vteps))

    def stayed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """Nothing is on link."""
        assert hosts is NO_HOSTS
        return me


class Setting:
    """A footing on a ground, and how often the life was told to look."""

    def __init__(self, reconciler: Reconciler) -> None:
        self.ground, self.told = Ground(), 0
        self.loop = Loop(reconciler, round_s=0.05, after_round=lambda _: None)
        self.footing = Footing(self.ground, self.loop, moved=self._moved, every_s=60)

    def _moved(self) -> None:
        self.told += 1

    def look(self) -> int:
        """Once; returns the tunnel's MTU after it."""
        self.footing.once()
        return self.loop.ask(lambda it: it.me.vteps[0].mtu if it.me else 0, timeout_s=10)


@pytest.fixture
def here() -> Iterator[Setting]:
    """A node that has a lease."""
    node = Node()
    node.reconciler.set_node(NETWORK, ME)
    made = Setting(node.reconciler)
    made.loop.start()
    yield made
    made.loop.stop()
    made.loop.join(10)


def test_another_mtu_is_followed(here: Setting) -> None:
    """Nobody else is told."""
    here.ground.mtu = 8950
    assert (here.look(), here.told, here.footing.trouble) == (8950, 0, "")


@pytest.mark.parametrize("elsewhere", ["", "eth0 -> eth1"])
def test_a_look_reads_the_kernel_once(here: Setting, elsewhere: str) -> None:
    """Its routes may be thousands, and whatever the look finds it is about the same moment."""
    here.ground.elsewhere = elsewhere
    here.look()
    assert here.ground.reads == 1


def test_another_interface_is_the_lifes_business(here: Setting) -> None:
    """Peers know it by our record."""
    here.ground.elsewhere, here.ground.mtu = "eth0 -> eth1", 8950
    assert (here.look(), here.told) == (1450, 1)


def test_no_room_changes_nothing_and_is_trouble_until_there_is(
    here: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once."""
    here.ground.room = False
    assert (here.look(), here.look()) == (1450, 1450)
    assert here.footing.trouble == "underlay MTU 600 of eth0 leaves 550 bytes"
    assert caplog.text.count("leaves 550") == 1
    here.ground.room = True
    assert (here.look(), here.footing.trouble) == (1450, "")


def test_a_family_without_room_is_trouble_and_the_other_follows(here: Setting) -> None:
    """IPv6 over an underlay of 1280."""
    here.ground.tight, here.ground.mtu = "too few for IPv6", 1230
    assert (here.look(), here.footing.trouble) == (1230, "too few for IPv6")


def test_an_underlay_that_carries_nothing_is_told_until_it_does(here: Setting) -> None:
    """Nothing else changes: routes and entries are as they should be, and no packet goes."""
    here.ground.dark = "eth0 is down"
    assert (here.look(), here.footing.dark) == (1450, "eth0 is down")
    here.ground.dark = ""
    assert (here.look(), here.footing.dark) == (1450, "")
