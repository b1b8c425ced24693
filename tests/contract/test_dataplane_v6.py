"""The data plane with IPv6 on a real kernel: two tunnels on one host, and what Linux does with IPv6 by itself."""

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.desired import Me, Vtep, desired_node, desired_peer
from overlay.model import Backend, Endpoint, KernelObject, Lease, Network, Pool
from overlay.netlink.namespace import run_inside
from overlay.plan import plan
from tests.contract.spaces import inside, ip, namespace
from tests.contract.test_dataplane_kernel import converge
from tests.contract.waiting import until
from tests.examples import ME, NETWORK

pytestmark = pytest.mark.contract

POOL = Pool(
    ip_network("fd00:5::/48"),
    64,
    ip_network("fd00:5:0:1::/64"),
    ip_network("fd00:5:0:ffff::/64"),
)
VTEP = Vtep(
    ip_network("fd00:5:0:1::/64"),
    "overlay-v6.1",
    "02:00:00:00:06:01",
    ip_address("2001:db8::1"),
    "eth0",
    1430,
)
DUAL = Network((*NETWORK.pools, POOL), Backend())
BOTH = Me("k", (*ME.vteps, VTEP), "overlay0")
Body = Callable[[Dataplane], object]


def lease(number: int, mac: int = 0) -> Lease:
    """A dual-stack peer's record."""
    four = Endpoint(
        ip_network(f"10.5.{number}.0/24"),
        ip_address(f"192.0.2.{number}"),
        f"02:00:00:00:00:{number:02x}",
        1,
    )
    six = Endpoint(
        ip_network(f"fd00:5:0:{number}::/64"),
        ip_address(f"2001:db8::{number}"),
        f"02:00:00:00:06:{mac or number:02x}",
        1,
    )
    return Lease(key=f"10.5.{number}.0-24&fd00:5:0:{number}::-64", endpoints=(four, six))


def wanted(*peers: Lease, me: Me = BOTH, network: Network = DUAL) -> dict[object, KernelObject]:
    """The node and its peers."""
    items = [*desired_node(network, me)]
    for peer in peers:
        items += desired_peer(network, me, peer)
    return {item.key: item for item in items}


@pytest.fixture
def second_space() -> Iterator[Path]:
    """Where a router lives."""
    with namespace() as made:
        yield made


@pytest.fixture
def host(space: Path, tmp_path: Path) -> Callable[[Body], None]:
    """A namespace with an underlay of both families; runs a test's body inside it."""
    ip(space, "link", "set", "lo", "up")
    ip(space, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    ip(space, "link", "set", "far0", "up")
    ip(space, "link", "set", "eth0", "up")
    ip(space, "addr", "add", "192.0.2.1/24", "dev", "eth0")
    ip(space, "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")

    def run(body: Body) -> None:
        def opened() -> None:
            with contextlib.closing(Dataplane(tmp_path)) as dataplane:
                body(dataplane)

        run_inside(space, opened)

    return run


def unchanged(want: dict[object, KernelObject], dataplane: Dataplane) -> None:
    """An agent that starts now has nothing to do."""
    assert plan(want, dataplane.read(want)) == []
    assert dataplane.changes == 0


@pytest.mark.parametrize(
    "backend", [Backend(), Backend(learning=True, gbp=True)], ids=["plain", "learning+gbp"]
)
def test_two_tunnels_share_vni_and_port_and_a_second_agent_changes_nothing(
    host: Callable[[Body], None], space: Path, backend: Backend
) -> None:
    """One per family, as flannel has them; a restart makes no change."""
    network = replace(DUAL, backend=backend)
    want = wanted(lease(2), lease(3), network=network)
    host(lambda dataplane: converge(dataplane, want))
    host(partial(unchanged, want))

    shown = ip(space, "-d", "link", "show", "overlay-v6.1")
    assert "mtu 1430" in shown
    assert "vxlan id 1 local 2001:db8::1 dev eth0" in shown
    assert "dstport 8472" in shown
    assert "addrgenmode none" in shown
    route = "fd00:5:0:2::/64 via fd00:5:0:2:: dev overlay-v6.1 proto 158"
    assert route in ip(space, "-6", "route")
    assert "fd00:5:0:2:: lladdr 02:00:00:00:06:02 PERMANENT" in ip(
        space, "-6", "neigh", "show", "dev", "overlay-v6.1"
    )
    fdb = inside(space, "bridge", "fdb", "show", "dev", "overlay-v6.1")
    assert "02:00:00:00:06:02 dst 2001:db8::2 self permanent" in fdb
    addresses = ip(space, "-6", "addr", "show", "dev", "overlay0")
    assert "fd00:5:0:1::1/64 scope global nodad" in addresses
    assert "fe80::858:aff:fe05:101/64 scope link nodad" in addresses
    assert "tentative" not in addresses + ip(space, "-6", "addr", "show", "dev", "overlay-v6.1")


TO_TWO = "fd00:5:0:2::/64 dev overlay-v6.1 onlink proto 158"


@pytest.mark.parametrize(
    "damage",
    [
        ["ip", "-6", "route", "del", "fd00:5:0:2::/64"],
        ["ip", "-6", "neigh", "del", "fd00:5:0:2::", "dev", "overlay-v6.1"],
        ["bridge", "fdb", "del", "02:00:00:00:06:02", "dev", "overlay-v6.1"],
        ["ip", "link", "set", "overlay-v6.1", "down"],
        ["ip", "link", "del", "overlay-v6.1"],
        ["ip", "-6", "addr", "flush", "dev", "overlay-v6.1"],
        ["ip", "-6", "addr", "flush", "dev", "overlay0"],
        ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=0"],
        ["sysctl", "-qw", "net.ipv6.conf.overlay0.disable_ipv6=1"],
        ["sysctl", "-qw", "net.ipv6.conf.overlay-v6/1.disable_ipv6=1"],
        ["ip", "-6", "route", "del", "fd00:5:0:1::/64"],
        ["sh", "-c", "ip -6 route replace blackhole fd00:5:0:1::/64 metric 256"],
        ["sh", "-c", f"ip -6 route replace {TO_TWO} via fd00:5:0:2:: mtu 1280"],
        ["sh", "-c", f"ip -6 route replace {TO_TWO} via fd00:5:0:2:: metric 77"],
        ["sh", "-c", f"ip -6 route append {TO_TWO} via fd00:5:0:3::"],
        ["ip", "link", "set", "overlay-v6.1", "arp", "off"],
        ["ip", "link", "set", "overlay-v6.1", "protodown", "on"],
        [
            "sh",
            "-c",
            "ip addr del fd00:5:0:1::/128 dev overlay-v6.1; "
            "ip addr add fd00:5:0:1:: peer fd00:5:0:2::7/128 dev overlay-v6.1",
        ],
        ["sh", "-c", f"ip -6 route replace {TO_TWO} via fd00:5:0:2:: expires 100"],
        ["ip", "-6", "route", "add", "blackhole", "fd00:5:0:2::7", "proto", "158"],
        ["ip", "-6", "route", "replace", "blackhole", "fd00:5:0:2::/64", "proto", "158"],
        ["sh", "-c", "ip -6 route add unreachable fd00:5:0:2::/64 proto 158 metric 7"],
    ],
    ids=" ".join,
)
def test_any_damage_is_mended(host: Callable[[Body], None], space: Path, damage: list[str]) -> None:
    """By the same plan that made it."""
    want = wanted(lease(2), lease(3))
    host(lambda dataplane: converge(dataplane, want))

    inside(space, *damage)

    def mend(dataplane: Dataplane) -> None:
        assert converge(dataplane, want) > 0
        assert dataplane.read(want) == want

    host(mend)


def test_what_is_stale_goes_and_what_is_foreign_stays(
    host: Callable[[Body], None], space: Path
) -> None:
    """A peer that is gone, another MAC of one that stays; a link-local address of somebody else."""
    host(lambda dataplane: converge(dataplane, wanted(lease(2), lease(9))))
    ip(space, "addr", "add", "fe80::1/64", "dev", "overlay0", "nodad")
    ip(space, "-6", "route", "add", "2001:db8:7::/48", "via", "2001:db8::9")

    want = wanted(lease(2, mac=0x22))
    host(lambda dataplane: converge(dataplane, want))
    host(partial(unchanged, want))

    assert "fd00:5:0:9::" not in ip(space, "-6", "route") + ip(space, "-6", "neigh")
    fdb = inside(space, "bridge", "fdb", "show", "dev", "overlay-v6.1")
    assert [line.split()[0] for line in fdb.splitlines()] == ["02:00:00:00:06:22"]
    assert "fe80::1/64" in ip(space, "-6", "addr", "show", "dev", "overlay0")
    assert "2001:db8:7::/48 via 2001:db8::9" in ip(space, "-6", "route")


def test_flannels_second_device_is_adopted_with_its_entries(
    host: Callable[[Body], None], space: Path
) -> None:
    """Not made anew, not renamed; a route of flannel's (proto boot) is rewritten in place."""
    making = "link add flannel-v6.1 address 02:00:00:00:06:01 mtu 1430 type vxlan id 1 dev eth0"
    ip(space, *making.split(), *["local", "2001:db8::1", "dstport", "8472", "nolearning"])
    ip(space, "link", "set", "flannel-v6.1", "up")
    ip(space, *["addr", "add", "fd00:5:0:1::/128", "dev", "flannel-v6.1"])
    for number in (2, 8):
        via = f"fd00:5:0:{number}::"
        ip(space, *f"-6 route add {via}/64 via {via} dev flannel-v6.1 onlink".split())
    index = ip(space, "link", "show", "flannel-v6.1").partition(":")[0]
    want = wanted(lease(2), me=replace(BOTH, vteps=(*ME.vteps, replace(VTEP, link="flannel-v6.1"))))

    host(lambda dataplane: converge(dataplane, want))
    host(partial(unchanged, want))

    assert ip(space, "link", "show", "flannel-v6.1").partition(":")[0] == index
    routes = ip(space, "-6", "route", "show", "dev", "flannel-v6.1")
    assert "fd00:5:0:2::/64 via fd00:5:0:2:: proto 158" in routes
    assert "fd00:5:0:8::" not in routes


def test_a_host_that_has_ipv6_off_by_default_gets_it_on_our_links(
    host: Callable[[Body], None], space: Path
) -> None:
    """And on no other."""
    inside(space, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    ip(space, "link", "add", "other0", "type", "veth", "peer", "name", "other1")

    host(lambda dataplane: converge(dataplane, wanted(lease(2))))

    assert inside(space, "sysctl", "-n", "net.ipv6.conf.other0.disable_ipv6").strip() == "1"


# --- router advertisements --------------------------------------------------------------------------------


def accept_ra(space: Path, link: str) -> str:
    """The switch."""
    return inside(space, "sysctl", "-n", f"net.ipv6.conf.{link}.accept_ra").strip()


def advertise(space: Path, link: str) -> None:
    """A router says to all nodes that it is one, for half an hour (RFC 4861, section 4.2)."""

    def send() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router:
            router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            index = socket.if_nametoindex(link)
            message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
            router.sendto(message, ("ff02::1", 0, 0, index))

    run_inside(space, send)


def test_a_default_route_that_a_router_advertised_is_kept(
    host: Callable[[Body], None], space: Path, second_space: Path
) -> None:
    """Linux forgets it when forwarding is turned on, and hears no router from then on, unless told before."""
    ip(space, "link", "set", "far0", "netns", second_space.name)
    ip(second_space, "addr", "add", "fe80::fe/64", "dev", "far0", "nodad")
    ip(second_space, "link", "set", "far0", "up")
    inside(space, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=1")

    def has_default() -> bool:
        advertise(second_space, "far0")
        return "default via fe80::fe dev eth0 proto ra" in ip(space, "-6", "route")

    until(has_default, most_s=10)

    host(lambda dataplane: converge(dataplane, wanted(lease(2))))

    assert "default via fe80::fe dev eth0 proto ra" in ip(space, "-6", "route")
    assert accept_ra(space, "eth0") == "2"


@pytest.mark.parametrize("before", ["0", "1", "2"])
def test_only_the_underlay_that_heard_routers_goes_on_hearing_them(
    host: Callable[[Body], None], space: Path, before: str
) -> None:
    """0 stays 0, other interfaces stay as they were, and a second agent changes nothing."""
    ip(space, "link", "add", "other0", "type", "veth", "peer", "name", "other1")
    for link in ("eth0", "other0"):
        inside(space, "sysctl", "-qw", f"net.ipv6.conf.{link}.accept_ra={before}")
    want = wanted(lease(2))

    host(lambda dataplane: converge(dataplane, want))
    host(partial(unchanged, want))

    assert accept_ra(space, "eth0") == {"0": "0", "1": "2", "2": "2"}[before]
    assert accept_ra(space, "other0") == before
    assert accept_ra(space, "overlay0") == "0"
