"""What others put in our way is named with the command that shows it, and no longer once it is gone."""

from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from agent.inway import InWay
from overlay.dataplane import obstacles
from overlay.dataplane.obstacles import MOST_ADDRESSES, MOST_ROUTES, Needs
from overlay.desired import Me, Vtep
from overlay.model import Backend, Network, Pool
from overlay.netlink import Netlink, RouteInfo
from overlay.netlink.namespace import run_inside
from overlay.netlink.parse import AddressInfo, LinkInfo
from tests.contract.policy_rules import BESIDE
from tests.contract.spaces import inside, ip

pytestmark = pytest.mark.contract

V4 = Pool(ip_network("10.5.0.0/16"), 24, ip_network("10.5.1.0/24"), ip_network("10.5.255.0/24"))
V6 = Pool(
    ip_network("fd00:5::/48"), 64, ip_network("fd00:5:0:1::/64"), ip_network("fd00:5:0:ff::/64")
)
MAC = "02:00:00:00:00:01"
NETWORK = Network((V4, V6), Backend())
ME = Me(
    "10.5.1.0-24",
    (
        Vtep(ip_network("10.5.1.0/24"), "overlay.1", MAC, ip_address("192.0.2.1"), "eth0", 1450),
        Vtep(
            ip_network("fd00:5:0:1::/64"),
            "overlay-v6.1",
            MAC,
            ip_address("2001:db8::1"),
            "eth0",
            1430,
        ),
    ),
    "overlay0",
)
OURS = (
    "ip link add overlay0 type bridge",
    "ip addr add 10.5.1.1/24 dev overlay0",
    "ip link set overlay0 up",
    "ip link add overlay.1 type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0",
    "ip addr add 10.5.1.0/32 dev overlay.1",
    "ip link set overlay.1 up",
    "ip route add 10.5.2.0/24 via 10.5.2.0 dev overlay.1 onlink proto 158",
    "ip route add 10.5.3.0/24 via 192.0.2.3 proto 158",
    "ip route add default via 192.0.2.254",
    "ip route add 10.0.0.0/8 via 192.0.2.254",
    "ip route add unreachable 10.5.0.0/16",
)
"""What we make, and what is wider than what we route."""


Case = tuple[list[str], str, str, list[str]]
"""Commands that make an obstacle, one that ends it, its name, and what is said of it."""


@pytest.fixture
def host(space: Path) -> Path:
    """A node with an underlay."""
    for command in (
        "ip link set lo up",
        "ip link add eth0 type veth peer name far0",
        "ip link set far0 up",
        "ip link set eth0 up",
        "ip addr add 192.0.2.1/24 dev eth0",
        "ip addr add 2001:db8::1/64 dev eth0 nodad",
    ):
        inside(space, *command.split())
    return space


@pytest.fixture
def watcher(host: Path) -> Iterator[InWay]:
    """Its looks are made by hand."""
    with closing(run_inside(host, Netlink)) as netlink:
        yield InWay(netlink, stance=lambda: (NETWORK, ME), freed=lambda: None, every_s=60)


@pytest.mark.parametrize(
    "case",
    [
        (
            ["ip route add 10.5.7.0/24 via 192.0.2.9 proto bird"],
            "ip route del 10.5.7.0/24",
            "route 10.5.7.0/24 dev eth0",
            ["proto bird", "look: ip route show 10.5.7.0/24"],
        ),
        (
            ["ip route add blackhole 10.5.7.0/26"],
            "ip route del blackhole 10.5.7.0/26",
            "route 10.5.7.0/26 dev none",
            ["look: ip route show 10.5.7.0/26"],
        ),
        (
            ["ip -6 route add fd00:5:0:7::/64 via 2001:db8::9"],
            "ip -6 route del fd00:5:0:7::/64",
            "route fd00:5:0:7::/64 dev eth0",
            ["look: ip -6 route show fd00:5:0:7::/64"],
        ),
        (
            ["ip link add calico type vxlan id 1 dstport 8472 local 2001:db8::1 dev eth0"],
            "ip link del calico",
            "device calico",
            ["VNI 1 on UDP port 8472", "which overlay-v6.1 needs", "look: ip -d link show calico"],
        ),
        (
            ["ip link add cilium_vxlan type vxlan external dstport 8472"],
            "ip link del cilium_vxlan",
            "device cilium_vxlan",
            ["every VNI on UDP port 8472"],
        ),
        (
            ["ip link add gbp type vxlan id 3 dstport 8472 gbp local 192.0.2.1 dev eth0"],
            "ip link del gbp",
            "device gbp",
            ["packets with GBP"],
        ),
        (
            ["ip link add docker0 type bridge", "ip addr add 10.5.17.1/24 dev docker0"],
            "ip link del docker0",
            "address 10.5.17.1/24 on docker0",
            ["lies in the pod network 10.5.0.0/16", "look: ip address show dev docker0"],
        ),
        (
            ["ip link add docker0 type bridge", "ip addr add 10.4.0.1/15 dev docker0"],
            "ip addr del 10.4.0.1/15 dev docker0",
            "address 10.4.0.1/15 on docker0",
            ["holds the pod network 10.5.0.0/16"],
        ),
        (
            ["ip link add br-x type bridge", "ip addr add 10.5.1.1/24 dev br-x"],
            "ip link del br-x",
            "address 10.5.1.1/24 on br-x",
            ["this node's own subnet 10.5.1.0/24, which overlay0 serves", "show dev br-x"],
        ),
        (
            ["ip addr add 10.5.0.9/16 dev eth0"],
            "ip addr del 10.5.0.9/16 dev eth0",
            "address 10.5.0.9/16 on eth0",
            ["the underlay's own network and the pod network 10.5.0.0/16 overlap"],
        ),
        (
            [
                "ip link add ovl-blue type bridge",
                "ip link set ovl-blue alias overlay-blue:bridge",
                "ip addr add fd00:5:0:9::1/64 dev ovl-blue nodad",
            ],
            "ip addr flush dev ovl-blue",
            "address fd00:5:0:9::1/64 on ovl-blue",
            ['instance "blue"', "look: ip -6 address show dev ovl-blue"],
        ),
        (
            [
                "ip route add 10.5.0.0/16 via 192.0.2.9 table 100",
                "ip rule add to 10.5.0.0/16 lookup 100 pref 90",
            ],
            "ip rule del pref 90",
            "rule 90 lookup 100",
            [
                "there 10.5.0.0/16 leads packets of the pod network 10.5.0.0/16 to dev eth0",
                "look: ip rule show; ip route show table 100",
            ],
        ),
        (
            [
                "ip -6 route add default via 2001:db8::9 table 51820",
                "ip -6 rule add not fwmark 51820 lookup 51820 pref 90",
            ],
            "ip -6 rule del pref 90",
            "rule 90 lookup 51820",
            ["there ::/0 leads", "look: ip -6 rule show; ip -6 route show table 51820"],
        ),
        (
            ["ip rule add from 10.5.0.0/16 prohibit pref 50"],
            "ip rule del pref 50",
            "rule 50",
            ["throws packets of the pod network 10.5.0.0/16 away (prohibit); look: ip rule show"],
        ),
    ],
    ids=[
        "route",
        "blackhole",
        "route6",
        "twin",
        "external",
        "gbp",
        "inside",
        "around",
        "own gateway",
        "underlay",
        "other agent",
        "table",
        "vpn",
        "prohibit",
    ],
)
def test_each_kind_is_named_while_it_is_there_and_said_once(
    host: Path,
    watcher: InWay,
    caplog: pytest.LogCaptureFixture,
    case: Case,
) -> None:
    """In the status as long as it lasts; in the log when it comes and when it goes."""
    making, undoing, what, words = case
    caplog.set_level("INFO", "agent.inway")
    for command in making:
        inside(host, *command.split())
    for _ in range(2):
        watcher.once()
    assert list(watcher.report()) == [what]
    for word in words:
        assert word in watcher.report()[what]
    assert caplog.text.count("in the way, and not ours") == 1

    inside(host, *undoing.split())
    watcher.once()
    assert watcher.report() == {}
    assert f"no longer in the way: {what}" in caplog.text


def test_what_is_ours_and_what_is_wider_is_no_obstacle(host: Path, watcher: InWay) -> None:
    """Nor is a network of flannel's beside ours."""
    for command in (
        *OURS,
        "ip link add flannel.9 type vxlan id 9 dstport 8472 local 192.0.2.1 dev eth0",
        "ip link add other type vxlan id 1 dstport 4789 local 192.0.2.1 dev eth0",
        "ip addr add 10.9.1.0/32 dev flannel.9",
        "ip link set flannel.9 up",
        "ip route add 10.9.2.0/24 via 10.9.2.0 dev flannel.9 onlink",
        *BESIDE,
    ):
        inside(host, *command.split())
    watcher.once()
    assert watcher.report() == {}


def test_a_flood_of_routes_is_counted_not_listed(host: Path, watcher: InWay) -> None:
    """A routing daemon that has our range."""
    lines = [f"route add 10.5.{number}.0/24 via 192.0.2.9" for number in range(20, 60)]
    for line in lines:
        ip(host, *line.split())
    watcher.once()
    report = watcher.report()
    assert len(report) == MOST_ROUTES + 1
    assert f"{40 - MOST_ROUTES} more routes" in report["routes into 10.5.0.0/16 fd00:5::/48"]


def test_a_flood_of_addresses_is_counted_not_listed(host: Path, watcher: InWay) -> None:
    """Such as a load balancer's device, which has each service's; a line each would bury all else."""
    for number in range(1, 41):
        ip(host, "addr", "add", f"10.5.7.{number}/32", "dev", "eth0")
    watcher.once()
    report = watcher.report()
    assert len(report) == MOST_ADDRESSES + 1
    assert f"{40 - MOST_ADDRESSES} more addr" in report["addresses in 10.5.0.0/16 fd00:5::/48"]


def test_an_empty_namespace_has_nothing_in_the_way(space: Path) -> None:
    """No route table yet."""
    with closing(run_inside(space, Netlink)) as netlink:
        assert obstacles.look(netlink, Needs(NETWORK, ME)) == []


def test_only_events_about_our_ranges_and_about_devices_call_for_a_look() -> None:
    """A router's table may change a thousand times a second."""
    needs = Needs(NETWORK, ME)

    def route(dst: str, protocol: int = 186) -> RouteInfo:
        return RouteInfo(ip_network(dst), None, 1, 254, protocol, 1, 0, False, None)

    assert needs.concerns(route("10.5.7.0/24"))
    assert not needs.concerns(route("10.5.7.0/24", 158))
    assert not needs.concerns(route("10.6.7.0/24"))
    assert not needs.concerns(route("10.0.0.0/8"))
    assert not needs.concerns(route("2001:db8::/48"))
    veth = LinkInfo(9, "ovl0", "veth", MAC, 1450, True, True, "", 0, 0, 0, None)
    assert not needs.concerns(veth)
    assert needs.concerns(AddressInfo(3, ip_interface("10.5.3.1/30"), 0, 0))
    assert not needs.concerns(AddressInfo(3, ip_interface("172.17.0.1/16"), 0, 0))
