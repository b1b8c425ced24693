"""Direct routes on a real kernel: read back, replaced in place in both families, taken over from flanneld."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent import underlay
from agent.underlay import Hosts
from overlay.dataplane import Dataplane
from overlay.desired import Me, Vtep, desired_node, desired_peer
from overlay.errors import ForeignObject, OverlayError
from overlay.model import Backend, Endpoint, Lease, Network, Pool, Route
from overlay.netlink import Netlink, messages
from overlay.netlink.namespace import run_inside
from overlay.onlink import NOTHING, OnLink, on_link
from overlay.plan import State, plan
from tests.contract.route_events import listening
from tests.contract.spaces import ip

pytestmark = pytest.mark.contract

POOLS = (
    Pool(ip_network("10.5.0.0/16"), 24, ip_network("10.5.1.0/24"), ip_network("10.5.255.0/24")),
    Pool(
        ip_network("fd05::/48"), 64, ip_network("fd05:0:0:1::/64"), ip_network("fd05:0:0:ffff::/64")
    ),
)
DIRECT, HOST_GW = Network(POOLS, Backend(direct_routing=True)), Network(POOLS, Backend("host-gw"))
V4 = Vtep(POOLS[0].first, "overlay.1", "02:00:00:00:00:01", ip_address("192.0.2.1"), "eth0", 1430)
V6 = Vtep(
    POOLS[1].first, "overlay-v6.1", "02:00:00:00:00:02", ip_address("2001:db8::1"), "eth0", 1430
)
PEER4, PEER6 = ip_address("192.0.2.2"), ip_address("2001:db8::2")
SUBNET4, SUBNET6 = ip_network("10.5.2.0/24"), ip_network("fd05:0:0:2::/64")


def lease(backend: str = "vxlan") -> Lease:
    """The peer."""
    mac, vni = ("02:00:00:00:00:22", 1) if backend == "vxlan" else (None, None)
    ends = (Endpoint(SUBNET4, PEER4, mac, vni), Endpoint(SUBNET6, PEER6, mac, vni))
    return Lease("p", ends, backend=backend)


@pytest.fixture
def host(space: Path) -> Path:
    """A namespace with an underlay of both families."""
    ip(space, "link", "set", "lo", "up")
    ip(space, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    for name in ("far0", "eth0"):
        ip(space, "link", "set", name, "up")
    ip(space, "addr", "add", "192.0.2.1/24", "dev", "eth0")
    ip(space, "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
    return space


@pytest.fixture
def dataplane(host: Path, tmp_path: Path) -> Iterator[Dataplane]:
    """Of that namespace, wherever it is called."""
    with closing(run_inside(host, lambda: Dataplane(tmp_path))) as made:
        yield made


@pytest.fixture
def look(host: Path) -> Iterator[Callable[[], OnLink]]:
    """What is on link there, now."""
    with closing(run_inside(host, Netlink)) as netlink:

        def seen() -> OnLink:
            hosts: Hosts = underlay.read(netlink)
            links = {link.index: link for link in hosts.links}
            return on_link(hosts.routes, links, ours={"overlay.1", "overlay-v6.1", "overlay0"})

        yield seen


def wanted(network: Network, connected: OnLink) -> State:
    """The node and its peer."""
    vteps = (V4, V6)
    if not network.backend.tunnels:
        vteps = (replace(V4, link="", mac=""), replace(V6, link="", mac=""))
    me = Me("k", vteps, "overlay0", connected=connected)
    items = [*desired_node(network, me), *desired_peer(network, me, lease(network.backend.kind))]
    return {item.key: item for item in items}


def converge(host: Path, dataplane: Dataplane, want: State) -> list[str]:
    """Apply until nothing is left; what was done to the peers' routes."""
    done: list[str] = []

    def body() -> None:
        for _ in range(5):
            steps = plan(want, dataplane.read(want))
            assert [error for error in dataplane.apply(steps) if error] == []
            routes = [step for step in steps if isinstance(step.object, Route)]
            done.extend(
                it.action.value for it in routes if getattr(it.object, "link", "") != "overlay0"
            )
            if not steps:
                return
        pytest.fail("the kernel never became what was wanted")

    run_inside(host, body)
    return done


def test_a_change_of_way_is_one_replaced_route_and_no_deletion_in_both_families(
    host: Path, dataplane: Dataplane, look: Callable[[], OnLink]
) -> None:
    """There is no moment without a route: the kernel says REPLACE, and never DELROUTE."""
    near = look()
    assert (near.link_to(PEER4), near.link_to(PEER6)) == ("eth0", "eth0")
    assert converge(host, dataplane, wanted(DIRECT, near)) == ["add", "add"]
    assert f"{SUBNET4} via {PEER4} dev eth0 proto 158" in ip(host, "route")
    assert f"{SUBNET6} via {PEER6} dev eth0 proto 158" in ip(host, "-6", "route")

    with listening(host) as events:
        assert converge(host, dataplane, wanted(DIRECT, NOTHING)) == ["replace", "replace"]
        assert f"{SUBNET4} via 10.5.2.0 dev overlay.1" in ip(host, "route")
        assert "dev overlay-v6.1" in ip(host, "-6", "route", "show", str(SUBNET6))
        assert "\nfd05:0:0:2:: " not in ip(host, "-6", "route")
        assert converge(host, dataplane, wanted(DIRECT, near)) == ["replace", "replace"]
    assert [it.deleted for it in events if it.dst in (SUBNET4, SUBNET6)] == [False] * 4
    assert look() == near  # our own routes say nothing


def test_a_foreign_ipv6_route_in_the_way_of_a_tunnel_is_left_alone(
    host: Path, dataplane: Dataplane, look: Callable[[], OnLink]
) -> None:
    """Its gateway has our VTEP address by another device, and it is still not ours."""
    converge(host, dataplane, wanted(DIRECT, look()))
    want = {**wanted(DIRECT, NOTHING)}
    ip(host, "-6", "route", "replace", str(SUBNET6), "via", "2001:db8::9", "dev", "eth0")

    def body() -> list[OverlayError]:
        return [it for it in dataplane.apply(plan(want, dataplane.read(want))) if it]

    assert [type(it) for it in run_inside(host, body)] == [ForeignObject]
    assert "via 2001:db8::9" in ip(host, "-6", "route", "show", str(SUBNET6))


def test_flannels_host_gw_routes_are_taken_over_in_place_and_others_stay(
    host: Path, dataplane: Dataplane, look: Callable[[], OnLink]
) -> None:
    """Same way, our protocol; a route of somebody else by the same device is not ours to delete."""
    ip(host, "route", "add", str(SUBNET4), "via", str(PEER4), "dev", "eth0")
    ip(host, "-6", "route", "add", str(SUBNET6), "via", str(PEER6), "dev", "eth0")
    ip(host, "route", "add", "10.5.9.0/24", "via", "192.0.2.9", "dev", "eth0")

    with listening(host) as events:
        converge(host, dataplane, wanted(HOST_GW, look()))
    assert [it.deleted for it in events if it.dst in (SUBNET4, SUBNET6)] == [False] * 2
    assert "proto 158" in ip(host, "route", "show", str(SUBNET4))
    assert ip(host, "route", "show", str(SUBNET4)).count("via") == 1
    assert "proto 158" in ip(host, "-6", "route", "show", str(SUBNET6))
    assert ip(host, "-6", "route", "show", str(SUBNET6)).count("via") == 1
    assert "10.5.9.0/24 via 192.0.2.9" in ip(host, "route")
    assert "vxlan" not in ip(host, "-d", "link")


def test_from_host_gw_to_vxlan_and_back_nothing_stale_is_left(
    host: Path, dataplane: Dataplane, look: Callable[[], OnLink]
) -> None:
    """The route is replaced; the device goes with its entries."""
    converge(host, dataplane, wanted(HOST_GW, look()))
    assert converge(host, dataplane, wanted(DIRECT, NOTHING)) == ["replace", "replace"]
    assert "overlay.1" in ip(host, "-d", "link")
    assert converge(host, dataplane, wanted(HOST_GW, look())) == ["replace", "replace"]
    assert "vxlan" not in ip(host, "-d", "link")


@pytest.mark.parametrize(
    ("route", "v4", "v6"),
    [
        ("192.0.2.2/32 via 192.0.2.9", "", "eth0"),
        ("192.0.2.0/30 dev far0", "far0", "eth0"),
        ("unreachable 192.0.2.2/32", "", "eth0"),
        ("192.0.2.2/32 nexthop dev eth0 nexthop dev far0", "", "eth0"),
        ("192.0.2.2/32 via inet6 fe80::9 dev eth0", "", "eth0"),
        ("2001:db8::2/128 via 2001:db8::9", "eth0", ""),
        ("2001:db8::/120 dev far0", "eth0", "far0"),
    ],
)
def test_a_route_of_others_decides_who_is_on_link(
    host: Path, look: Callable[[], OnLink], route: str, v4: str, v6: str
) -> None:
    """As the kernel itself would go."""
    flag = ["-6"] if route.startswith("2001") else []
    ip(host, *flag, "route", "add", *route.split())

    near = look()

    assert (near.link_to(PEER4), near.link_to(PEER6)) == (v4, v6)


def test_a_full_table_leaves_only_what_can_matter(host: Path, look: Callable[[], OnLink]) -> None:
    """Of 3,000 routes by a router none."""
    with closing(run_inside(host, Netlink)) as netlink:
        index = int(ip(host, "link", "show", "eth0").partition(":")[0])
        errors = netlink.batch(
            [
                messages.route_add(
                    ip_network(f"20.{n >> 8}.{n & 255}.0/24"),
                    link=index,
                    via=ip_address("192.0.2.9"),
                    protocol=186,
                )
                for n in range(3000)
            ]
        )
        assert [error for error in errors if error] == []
        assert len(underlay.read(netlink).routes) < 20
    assert look().link_to(PEER4) == "eth0"
