"""Whose is what, on a real kernel: what the data plane takes over, leaves alone, or reports."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.dataplane.entries import Entries
from overlay.dataplane.links import LinkDoor
from overlay.dataplane.read import convert
from overlay.errors import ForeignObject, KernelRefused
from overlay.model import (
    Action,
    Bridge,
    FdbEntry,
    KernelObject,
    LinkAddress,
    Neighbour,
    Route,
    Step,
    Sysctl,
    Vxlan,
)
from overlay.netlink import Netlink
from overlay.netlink.namespace import run_inside
from tests.contract.planes import settle
from tests.contract.spaces import inside, ip

pytestmark = pytest.mark.contract
MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
VXLAN = Vxlan("overlay.1", MAC, 1430, 1, 8472, ip_address("192.0.2.1"), "eth0")
BRIDGE = Bridge("overlay0", "0a:58:0a:05:01:01", 1430)
NODE: tuple[KernelObject, ...] = (
    Sysctl("net/ipv4/ip_forward", "1"),
    Sysctl("net/ipv6/conf/overlay.1/accept_ra", "0"),
    VXLAN,
    BRIDGE,
    LinkAddress("overlay.1", ip_interface("10.5.1.0/32")),
    LinkAddress("overlay.1", ip_interface("fd00:5:0:1::/128")),
    LinkAddress("overlay0", ip_interface("10.5.1.1/24")),
    LinkAddress("overlay0", ip_interface("fd00:5:0:1::1/64")),
)
PEER: tuple[KernelObject, ...] = (
    FdbEntry("overlay.1", PEER_MAC, ip_address("192.0.2.2")),
    Neighbour("overlay.1", ip_address("10.5.2.0"), PEER_MAC),
    Neighbour("overlay.1", ip_address("fd00:5:0:2::"), PEER_MAC),
    Route(ip_network("10.5.2.0/24"), ip_address("10.5.2.0"), "overlay.1"),
    Route(ip_network("fd00:5:0:2::/64"), ip_address("fd00:5:0:2::"), "overlay.1"),
)
WANT = {item.key: item for item in (*NODE, *PEER)}


@pytest.fixture
def node(space: Path, tmp_path: Path) -> Iterator[Dataplane]:
    """A data plane in a namespace with an underlay; its sockets stay there, wherever it is called."""
    ip(space, "link", "set", "lo", "up")
    ip(space, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    ip(space, "link", "set", "far0", "up")
    ip(space, "link", "set", "eth0", "up")
    ip(space, "addr", "add", "192.0.2.1/24", "dev", "eth0")
    with closing(run_inside(space, lambda: Dataplane(tmp_path))) as dataplane:
        yield dataplane


def read(space: Path, node: Dataplane) -> dict[object, KernelObject]:
    """What is ours now."""
    return run_inside(space, lambda: node.read(WANT))


def test_every_kind_of_object_is_read_back_as_it_was_applied(space: Path, node: Dataplane) -> None:
    """Both families; removal takes every one of them away again."""
    settle(space, node, dict(WANT))
    assert read(space, node) == WANT

    removal = [Step(Action.DELETE, item, was=item) for item in (*PEER, *NODE[:3:-1], VXLAN, BRIDGE)]
    for _ in range(2):  # deleting what is gone is success
        assert [error for error in node.apply(removal) if error] == []
    left = [item for item in read(space, node).values() if not isinstance(item, Sysctl)]
    assert left == []


def test_what_two_lists_have_is_read_once(space: Path, node: Dataplane) -> None:
    """A route of ours by the tunnel is in the kernel's list of our protocol, and in that of the device; others' in the
    latter alone."""
    settle(space, node, dict(WANT))
    theirs = ip_network("10.5.7.0/24")
    ip(space, "route", "add", f"{theirs}", "dev", "overlay.1")

    def body() -> list[object]:
        with Netlink() as netlink:
            door = LinkDoor(netlink)
            door.read({VXLAN.name: VXLAN, BRIDGE.name: BRIDGE})
            found = Entries(netlink).read(door.seen, WANT, lambda it: convert(it, door.seen))
            return [item for _, item in found if isinstance(item, Route)]

    routes = run_inside(space, body)
    assert len(routes) == len({*routes})
    ours = {it for it in PEER if isinstance(it, Route)}
    assert ours <= {*routes}
    assert theirs in {it.dst for it in routes if isinstance(it, Route)}


def test_what_others_made_is_not_read(space: Path, node: Dataplane) -> None:
    """Foreign routes, neighbours, addresses, links and learned entries are invisible to the planner."""
    settle(space, node, dict(WANT))
    ip(space, "link", "add", "br-x", "type", "bridge")
    ip(space, "link", "add", "vx", "type", "vxlan", "id", "9", "dstport", "4789", "dev", "eth0")
    ip(space, "addr", "add", "198.51.100.1/24", "dev", "br-x")
    ip(space, "route", "add", "203.0.113.0/24", "via", "192.0.2.9")
    ip(space, "neigh", "add", "192.0.2.9", "lladdr", PEER_MAC, "dev", "eth0")
    neighbour = ["10.5.9.0", "lladdr", PEER_MAC, "dev", "overlay.1", "nud", "reachable"]
    ip(space, "neigh", "add", *neighbour)
    inside(space, "bridge", "fdb", "add", PEER_MAC, "dev", "eth0", "self")
    inside(space, "nft", "add", "table", "inet", "firewalld")

    assert read(space, node) == WANT


def test_what_others_put_on_our_device_is_ours_to_remove(space: Path, node: Dataplane) -> None:
    """Stale entries of an earlier life, whatever their protocol, and FDB entries with odd ports."""
    settle(space, node, dict(WANT))
    ip(space, "route", "add", "10.9.0.0/24", "via", "10.9.0.0", "dev", "overlay.1", "onlink")
    ip(space, "route", "add", "10.8.0.0/24", "via", "192.0.2.9", "proto", "158")
    ip(space, "neigh", "add", "10.9.0.0", "lladdr", "02:00:00:00:00:09", "dev", "overlay.1")
    odd = ["02:00:00:00:00:09", "dev", "overlay.1", "dst", "192.0.2.9", "port", "99", "self"]
    inside(space, "bridge", "fdb", "add", *odd)
    same = [PEER_MAC, "dev", "overlay.1", "dst", "192.0.2.2", "port", "98", "self"]
    inside(space, "bridge", "fdb", "replace", *same)

    assert read(space, node) != WANT
    settle(space, node, dict(WANT))

    assert read(space, node) == WANT
    assert "port" not in inside(space, "bridge", "fdb", "show", "dev", "overlay.1")


@pytest.mark.parametrize("name", ["overlay.1", "overlay0"])
def test_a_device_left_unmarked_by_a_crash_is_marked_not_remade(
    space: Path, node: Dataplane, name: str
) -> None:
    """Between making and marking we may have died: same index, no entry lost, alias there."""
    settle(space, node, dict(WANT))
    index = ip(space, "link", "show", name).partition(":")[0]
    ip(space, "link", "set", name, "alias", "")
    assert ("link", name) not in read(space, node)

    settle(space, node, dict(WANT))

    seen = ip(space, "link", "show", name)
    assert seen.partition(":")[0] == index
    assert "alias overlay:" in seen


def test_a_vxlan_of_others_under_our_name_is_left_alone(space: Path, node: Dataplane) -> None:
    """Another VNI, no mark of ours: reported with the command that shows it, and still there."""
    other = ["type", "vxlan", "id", "77", "dstport", "4789", "dev", "eth0"]
    ip(space, "link", "add", "overlay.1", *other)

    [error] = node.apply([Step(Action.ADD, VXLAN)])

    assert isinstance(error, ForeignObject)
    assert "ip -d link show overlay.1" in error.hint
    assert "vxlan id 77" in ip(space, "-d", "link", "show", "overlay.1")


def test_our_own_device_is_remade_when_it_cannot_be_changed(space: Path, node: Dataplane) -> None:
    """Another VNI: made anew. Another MTU or MAC: changed in place."""
    settle(space, node, {VXLAN.key: VXLAN})
    index = ip(space, "link", "show", "overlay.1").partition(":")[0]
    softly = Vxlan("overlay.1", PEER_MAC, 1400, 1, 8472, VXLAN.local, "eth0")
    settle(space, node, {VXLAN.key: softly})
    assert ip(space, "link", "show", "overlay.1").partition(":")[0] == index

    hard = Vxlan("overlay.1", PEER_MAC, 1400, 5, 8472, VXLAN.local, "eth0")
    settle(space, node, {VXLAN.key: hard})

    assert "vxlan id 5 " in ip(space, "-d", "link", "show", "overlay.1")


def test_a_network_with_group_policies_has_a_device_with_them(space: Path, node: Dataplane) -> None:
    """The flag is a number away from the one for devices that serve every VNI."""
    item = replace(VXLAN, gbp=True)
    settle(space, node, {VXLAN.key: item})
    shown = ip(space, "-d", "link", "show", "overlay.1")
    assert " gbp " in shown
    assert "external" not in shown


def test_a_direct_route_of_flannel_is_replaced_in_place(space: Path, node: Dataplane) -> None:
    """A peer's subnet via its underlay address; any other route to a peer's subnet is its owner's."""
    ip(space, "route", "add", "10.5.2.0/24", "via", "192.0.2.2", "dev", "eth0")
    settle(space, node, dict(WANT))
    assert read(space, node) == WANT
    assert ip(space, "route", "show", "10.5.2.0/24").count("dev") == 1

    other = Route(ip_network("10.5.3.0/24"), ip_address("10.5.3.0"), "overlay.1")
    ip(space, "route", "add", "10.5.3.0/24", "via", "192.0.2.77", "dev", "eth0")
    [error] = node.apply([Step(Action.ADD, other)])
    assert isinstance(error, ForeignObject)
    assert "192.0.2.77" in ip(space, "route", "show", "10.5.3.0/24")


def test_an_empty_namespace_reads_as_nothing(space: Path, tmp_path: Path) -> None:
    """No route table, no link of ours: an empty answer, no error, no change."""
    with closing(run_inside(space, lambda: Dataplane(tmp_path))) as dataplane:
        assert run_inside(space, lambda: dataplane.read({})) == {}
        assert dataplane.changes == 0


def test_an_unwritable_switch_is_an_error_of_its_own(space: Path, node: Dataplane) -> None:
    """It names the switch, and the steps around it are done."""
    steps = [Step(Action.ADD, Sysctl("net/ipv4/no_such", "1")), Step(Action.ADD, BRIDGE)]

    first, second = run_inside(space, lambda: node.apply(steps))

    assert "net.ipv4.no_such" in str(first)
    assert second is None


def test_five_thousand_peers_are_read_back_equal(space: Path, node: Dataplane) -> None:
    """Nothing is lost at scale; a second look plans nothing."""
    want: dict[object, KernelObject] = {VXLAN.key: VXLAN}
    for number in range(5000):
        subnet = IPv4Network((int(ip_address("10.64.0.0")) + number * 256, 24))
        mac = f"02:01:00:00:{number >> 8:02x}:{number & 255:02x}"
        items: list[KernelObject] = [
            FdbEntry("overlay.1", mac, ip_address(int(ip_address("198.18.0.1")) + number)),
            Neighbour("overlay.1", subnet[0], mac),
            Route(subnet, subnet[0], "overlay.1"),
        ]
        want |= {item.key: item for item in items}

    settle(space, node, want)

    assert run_inside(space, lambda: node.read(want)) == want


def test_a_name_that_is_a_second_one_of_somebodys_link_is_told_with_the_command(
    node: Dataplane, space: Path
) -> None:
    """The kernel says "File exists" of it, and no list of links has that name."""
    ip(space, "link", "add", "theirs", "type", "bridge")
    ip(space, "link", "property", "add", "dev", "theirs", "altname", "overlay0")
    (error,) = node.apply([Step(Action.ADD, BRIDGE)])
    assert isinstance(error, KernelRefused)
    assert str(error) == "theirs has overlay0 as another name (altname), so overlay0 cannot be made"
    ip(space, *error.hint.partition("then ip ")[2].split())
    assert node.apply([Step(Action.ADD, BRIDGE)]) == [None]
