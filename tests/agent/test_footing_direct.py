"""What is on link, followed: by which events, how often, and what becomes of the routes meanwhile."""

import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.footing import Footing
from agent.kernelwatch import may_put_on_link
from agent.loop import Loop
from agent.offlink import OffLink
from agent.reconcile import Reconciler
from agent.underlay import Hosts
from overlay.desired import Me
from overlay.errors import NotReady
from overlay.keys import route_key
from overlay.model import ROUTE_PROTOCOL, Network, Route
from overlay.netlink import RouteInfo
from overlay.onlink import NOTHING, OnLink, Way
from tests.agent.one_node import Node, lease, snapshot
from tests.examples import ME, NETWORK

DIRECT = replace(NETWORK, backend=replace(NETWORK.backend, direct_routing=True))
NEAR = OnLink((Way(ip_network("192.0.2.0/24"), "eth0"),))
SUBNET = ip_network("10.5.2.0/24")


class FakeGround:
    """An underlay that says what it is told to; ``trouble`` is raised by all that need a usable one."""

    def __init__(self) -> None:
        self.connected, self.trouble, self.elsewhere = NEAR, "", ""
        self.tight = self.dark = ""
        self.looked = threading.Event()

    def hosts(self) -> Hosts:
        """Of which nothing is asked here."""
        return Hosts((), (), ())

    def moved(self, me: Me, hosts: Hosts | None = None) -> str:
        """As it was told."""
        self.looked.set()
        if self.trouble:
            raise NotReady(self.trouble)
        return self.elsewhere

    def refreshed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """With what is on link."""
        return self.stayed(network, me)

    def stayed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """With what is on link."""
        return replace(me, connected=self.connected)


class SameThread(Loop):
    """A loop whose jobs are done at once, by whoever posts them."""

    def __init__(self, reconciler: Reconciler) -> None:
        super().__init__(reconciler, round_s=60, after_round=lambda _: None)
        self._one = reconciler

    def post(self, job: Callable[[Reconciler], None]) -> None:
        """Do it."""
        job(self._one)


class Stand:
    """A node with one peer, on a fake ground."""

    def __init__(self) -> None:
        self.node, self.ground, self.told = Node(), FakeGround(), 0
        self.node.reconciler.set_node(DIRECT, replace(ME, connected=NEAR))
        self.node.reconciler.on_event(snapshot(2))
        self.node.settle()
        self.footing = Footing(
            self.ground,
            SameThread(self.node.reconciler),
            moved=self._moved,
            every_s=60,
            settle_s=0.01,
            churn_s=60,
        )

    def _moved(self) -> None:
        self.told += 1

    def way(self) -> str:
        """Of the peer's route in the kernel."""
        self.node.settle()
        found = self.node.kernel.state.get(route_key(SUBNET))
        return found.link if isinstance(found, Route) else ""


@pytest.fixture
def stand() -> Stand:
    """In sync, the peer direct."""
    made = Stand()
    assert made.way() == "eth0"
    return made


def test_a_peer_that_is_no_longer_on_link_goes_by_tunnel_and_back(stand: Stand) -> None:
    """One route is replaced each time; nothing is deleted, nothing counts as drift."""
    changes = stand.node.kernel.changes
    for connected, device in ((NOTHING, "overlay.1"), (NEAR, "eth0")):
        stand.ground.connected = connected
        stand.footing.once()
        assert stand.way() == device
    assert stand.node.kernel.changes == changes + 2
    assert stand.node.kernel.deleted() == []
    assert stand.node.reconciler.drift.changes == 0


@pytest.mark.parametrize(("trouble", "elsewhere"), [("no default route", ""), ("", "it moved")])
def test_an_underlay_that_does_not_serve_is_followed_as_far_as_routes_go(
    stand: Stand, trouble: str, elsewhere: str
) -> None:
    """The life's keeper is told, which may need etcd; the routes need nobody."""
    stand.ground.trouble, stand.ground.elsewhere = trouble, elsewhere
    stand.ground.connected = NOTHING
    stand.footing.once()

    assert stand.way() == "overlay.1"
    assert stand.told == 1


def test_a_route_that_a_flap_took_is_found_missing_at_once(stand: Stand) -> None:
    """The kernel says nothing of it: an event about the link is reason enough to read everything."""
    stand.node.kernel.lose(route_key(SUBNET))
    stand.footing.once(told=False)
    assert stand.way() == ""

    stand.footing.once(told=True)

    assert stand.way() == "eth0"
    assert stand.node.reconciler.drift.changes == 1


def test_under_churn_of_routes_a_look_waits_and_a_link_event_ends_the_waiting(stand: Stand) -> None:
    """A hundred routes a second cost a look now and then; a link that came up has no time to lose."""
    stand.footing.start()
    try:
        stand.footing.look(hurry=False)  # nothing for a while: at once
        assert stand.ground.looked.wait(5)
        stand.ground.looked.clear()
        for _ in range(100):
            stand.footing.look(hurry=False)
        assert not stand.ground.looked.wait(0.1)
        stand.footing.look()
        assert stand.ground.looked.wait(5)
    finally:
        stand.footing.stop()


def route(dst: str, via: str | None = None, **more: int) -> RouteInfo:
    """An event."""
    return RouteInfo(
        ip_network(dst),
        ip_address(via) if via else None,
        2,
        more.get("table", 254),
        more.get("protocol", 4),
        1,
        0,
        False,
        None,
    )


@pytest.mark.parametrize(
    ("event", "look"),
    [
        (route("198.51.100.0/24"), True),
        (route("192.0.2.9/32", "192.0.2.1"), True),
        (route("0.0.0.0/0", "192.0.2.1"), True),
        (route("198.51.100.0/24", "192.0.2.1"), False),
        (route("198.51.100.0/24", table=100), False),
        (route("10.5.2.0/24", "192.0.2.2", protocol=ROUTE_PROTOCOL), False),
    ],
    ids=["on link", "inside of one", "default", "a router's", "another table", "ours"],
)
def test_only_a_route_that_can_matter_causes_a_look(
    stand: Stand, event: RouteInfo, look: bool
) -> None:
    """A router's table may change a thousand times a second."""
    assert may_put_on_link(stand.node.reconciler, event) is look
    stand.node.reconciler.set_node(NETWORK, ME)
    assert may_put_on_link(stand.node.reconciler, event) is (event.dst.prefixlen == 0)


def test_a_network_that_concerns_no_peer_costs_nothing(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    """Containers come and go, each with a route of its own; a peer that joins finds what is on link by then."""
    changes = stand.node.kernel.changes
    far = ip_network("198.51.100.0/24")
    stand.ground.connected = OnLink((*NEAR.ways, Way(far, "docker0")))
    stand.footing.once(told=False)
    assert stand.way() == "eth0"

    assert stand.node.kernel.changes == changes
    assert [it for it in caplog.records if it.levelname == "WARNING"] == []
    assert stand.node.reconciler.me is not None
    assert stand.node.reconciler.me.connected.link_to(ip_address("198.51.100.9")) == "docker0"


def test_a_peer_that_joins_is_direct_from_its_first_route_on(stand: Stand) -> None:
    """What is on link is known before anybody asks."""
    stand.node.reconciler.on_event(snapshot(2, 3))
    stand.node.settle()

    assert (
        Route(ip_network("10.5.3.0/24"), ip_address("192.0.2.3"), "eth0", onlink=False)
        in stand.node.kernel.state.values()
    )
    assert lease(3).key in stand.node.reconciler.demand.roll.leases


def test_peers_that_host_gw_loses_are_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Five hundred of them are one event; whoever comes back, or goes, is no longer named."""
    caplog.set_level("INFO")
    off = OffLink()
    for number in range(500):
        off.note(f"10.5.{number}.0-24", "not on link")
    off.note("10.5.7.0-24", "")
    off.say()
    for number in range(500):
        off.note(f"10.5.{number}.0-24", "")
    off.say()
    off.say()

    assert [record.getMessage() for record in caplog.records] == [
        "peers not reached count=499 first=10.5.0.0-24: not on link; look: overlayctl peers",
        "peers reached again or gone count=499 first=10.5.0.0-24",
    ]
    assert off.reasons == {}
