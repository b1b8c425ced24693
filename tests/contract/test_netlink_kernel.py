"""Our netlink bytes against a real kernel, with iproute2 and pyroute2 as independent readers."""

import json
import os
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import NetNS

from overlay.errors import KernelRefused
from overlay.model import ROUTE_PROTOCOL, Family
from overlay.netlink import LinkInfo, Netlink, messages, parse
from overlay.netlink.monitor import Monitor
from overlay.netlink.namespace import run_inside
from tests.contract.spaces import inside, ip, namespace

pytestmark = pytest.mark.contract
MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.fixture
def underlay(space: Path) -> Path:
    """A namespace with eth0, 192.0.2.1/24 and 2001:db8::1/64."""
    ip(space, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    ip(space, "link", "set", "far0", "up")
    ip(space, "link", "set", "eth0", "up")
    ip(space, "addr", "add", "192.0.2.1/24", "dev", "eth0")
    ip(space, "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
    return space


@pytest.fixture
def netlink(underlay: Path) -> Iterator[Netlink]:
    """A socket inside ``underlay``."""
    with Netlink.in_namespace(underlay) as opened:
        yield opened


def shown(space: Path, *words: str) -> Any:  # noqa: ANN401 - iproute2's JSON
    """``ip -j -d``, decoded."""
    return json.loads(ip(space, "-j", "-d", *words) or "[]")


def link(netlink: Netlink, name: str) -> LinkInfo:
    """One link, as our parser sees it."""
    return parse.parse_link(netlink.get(messages.link_get(name))[0][1])


def make_vxlan(netlink: Netlink, local: str = "192.0.2.1") -> int:
    """overlay.1, UP; its index."""
    under = link(netlink, "eth0").index
    made = messages.link_vxlan(
        "overlay.1", mac=MAC, mtu=1430, vni=1, port=8472, local=ip_address(local), lower=under
    )
    netlink.request(made)
    netlink.request(messages.link_set("overlay.1", alias="overlay:vtep", no_link_local=True))
    netlink.request(messages.link_set("overlay.1", up=True))
    return link(netlink, "overlay.1").index


@pytest.mark.parametrize(("local", "word"), [("192.0.2.1", "local"), ("2001:db8::1", "local6")])
def test_a_vxlan_is_made_as_flannel_makes_it(
    underlay: Path, netlink: Netlink, local: str, word: str
) -> None:
    """iproute2 shows what we asked for, nothing is learned, and there is no fe80 address."""
    make_vxlan(netlink, local)

    [seen] = shown(underlay, "address", "show", "overlay.1")

    data = seen["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data[word], data["link"]) == (1, 8472, local, "eth0")
    assert data["learning"] is False
    assert (seen["address"], seen["mtu"], seen["ifalias"]) == (MAC, 1430, "overlay:vtep")
    assert "UP" in seen["flags"]
    assert seen["addr_info"] == []


def test_links_read_the_same_by_us_and_by_pyroute2(underlay: Path, netlink: Netlink) -> None:
    """Index, name, MAC, MTU and UP of every link, by two parsers."""
    make_vxlan(netlink)
    netlink.request(messages.link_bridge("overlay0", mac="0a:58:0a:05:01:01", mtu=1430))

    ours = [parse.parse_link(body) for _, body in netlink.dump(messages.link_dump())]
    with NetNS(str(underlay)) as other:
        theirs = [
            (item["index"], item.get_attr("IFLA_IFNAME"), item.get_attr("IFLA_ADDRESS"))
            for item in other.get_links()
        ]

    assert [(item.index, item.name, item.mac) for item in ours] == theirs
    assert [item.kind for item in ours if item.name.startswith("overlay")] == ["vxlan", "bridge"]


def test_one_message_puts_a_pods_end_into_the_pod(underlay: Path, netlink: Netlink) -> None:
    """The peer is never seen in the host's namespace; the host end is in the bridge."""
    netlink.request(messages.link_bridge("overlay0", mac="0a:58:0a:05:01:01", mtu=1450))
    bridge = link(netlink, "overlay0").index
    with namespace() as pod:
        descriptor = os.open(pod, os.O_RDONLY)
        try:
            before = netlink.changes
            made = messages.link_veth(
                "ovl1",
                "eth0",
                mtu=1440,
                netns_fd=descriptor,
                master=bridge,
                mac=MAC,
                peer_mac=PEER_MAC,
            )
            netlink.request(made)
        finally:
            os.close(descriptor)

        [host_end] = shown(underlay, "link", "show", "ovl1")
        [pod_end] = shown(pod, "link", "show", "eth0")

        assert netlink.changes == before + 1
        assert (host_end["master"], host_end["mtu"], host_end["address"]) == ("overlay0", 1440, MAC)
        assert (pod_end["mtu"], pod_end["address"]) == (1440, PEER_MAC)
        assert len(shown(underlay, "link")) == 5  # lo, eth0, far0, overlay0, ovl1


@pytest.mark.parametrize(
    ("dst", "via", "family"),
    [("10.5.2.0/24", "10.5.2.0", "-4"), ("fd00:5:0:2::/64", "fd00:5:0:2::", "-6")],
)
def test_a_peers_three_entries_come_and_go(
    underlay: Path, netlink: Netlink, dst: str, via: str, family: str
) -> None:
    """Route, neighbour and FDB entry of both families, written, listed and deleted."""
    index = make_vxlan(netlink)
    subnet, hop, remote = ip_network(dst), ip_address(via), ip_address("192.0.2.2")

    came = [
        messages.fdb_replace(index, PEER_MAC, remote),
        messages.neighbour_replace(index, hop, PEER_MAC),
        messages.route_add(subnet, link=index, via=hop, onlink=True),
    ]
    assert netlink.batch(came) == [None] * 3

    [route] = shown(underlay, family, "route", "show", dst)
    assert (route["gateway"], route["dev"], route["protocol"]) == (via, "overlay.1", "158")
    assert "onlink" in route["flags"]
    [neighbour] = shown(underlay, family, "neigh", "show", "dev", "overlay.1", "nud", "permanent")
    assert (neighbour["dst"], neighbour["lladdr"]) == (via, PEER_MAC)
    assert f"{PEER_MAC} dst 192.0.2.2 self permanent" in inside(
        underlay, "bridge", "fdb", "show", "dev", "overlay.1"
    )

    gone = [
        messages.route_delete(subnet, link=index, via=hop, onlink=True),
        messages.neighbour_delete(index, hop),
        messages.fdb_delete(index, PEER_MAC, remote),
    ]
    assert netlink.batch(gone) == [None] * 3
    assert shown(underlay, family, "route", "show", dst) == []
    assert PEER_MAC not in inside(underlay, "bridge", "fdb", "show", "dev", "overlay.1")


def test_addresses_come_and_go(underlay: Path, netlink: Netlink) -> None:
    """With their prefix length, no broadcast; setting one twice is no error."""
    index = make_vxlan(netlink)
    both = [ip_interface("10.5.1.0/32"), ip_interface("fd00:5:0:1::/128")]

    for address in (*both, *both):
        netlink.request(messages.address_add(index, address))
    [seen] = shown(underlay, "address", "show", "overlay.1")
    assert [(item["local"], item["prefixlen"]) for item in seen["addr_info"]] == [
        ("10.5.1.0", 32),
        ("fd00:5:0:1::", 128),
    ]
    assert not any("broadcast" in item for item in seen["addr_info"])

    read = [
        parse.parse_address(body).address
        for family in Family
        for _, body in netlink.dump(messages.address_dump(family, link=index))
    ]
    assert read == both
    for address in both:
        netlink.request(messages.address_delete(index, address))
    assert shown(underlay, "address", "show", "overlay.1")[0]["addr_info"] == []


def test_a_route_is_deleted_only_with_its_own_protocol(netlink: Netlink, underlay: Path) -> None:
    """Somebody's static route to the same subnet is not taken for ours."""
    index = make_vxlan(netlink)
    subnet, hop = ip_network("10.5.2.0/24"), ip_address("10.5.2.0")
    ip(underlay, "route", "add", "10.5.2.0/24", "via", "10.5.2.0", "dev", "overlay.1", "onlink")

    with pytest.raises(KernelRefused):
        netlink.request(messages.route_delete(subnet, link=index, via=hop, onlink=True))

    netlink.request(messages.route_delete(subnet, link=index, via=hop, onlink=True, protocol=3))


def test_the_way_to_an_address_can_be_asked(netlink: Netlink) -> None:
    """Interface and source address, as the underlay choice needs them."""
    [(_, body)] = netlink.get(messages.route_get(ip_address("192.0.2.77")))

    route = parse.parse_route(body)

    assert route.link == link(netlink, "eth0").index
    assert route.source == ip_address("192.0.2.1")


def test_a_failure_in_a_batch_is_told_and_stops_nothing(netlink: Netlink, underlay: Path) -> None:
    """More than 64 KiB in one call; each bad message is identified by its place."""
    index = make_vxlan(netlink)
    first = int(ip_address("10.16.0.0"))
    subnets = [IPv4Network((first + number * 256, 24)) for number in range(2000)]
    sent = [
        messages.route_add(subnet, link=index, via=subnet.network_address, onlink=True)
        for subnet in subnets
    ]
    bad = {0, 63, 64, 1000, 1999}
    for place in bad:
        sent[place] = messages.route_add(subnets[place], link=9999, via=ip_address("10.0.0.1"))
    assert sum(map(len, sent)) > 64 * 1024
    before = netlink.changes

    results = netlink.batch(sent)

    assert {place for place, error in enumerate(results) if error is not None} == bad
    assert all(isinstance(results[place], KernelRefused) for place in bad)
    assert netlink.changes - before == 1995
    dumped = netlink.dump(messages.route_dump(Family.V4, protocol=ROUTE_PROTOCOL))
    assert len(dumped) == 1995
    assert len(shown(underlay, "route", "show", "proto", "158")) == 1995


def test_the_kernels_own_words_reach_the_caller(netlink: Netlink) -> None:
    """A second device with our VNI is refused with the reason, not only with a number."""
    make_vxlan(netlink)
    under = link(netlink, "eth0").index
    again = messages.link_vxlan(
        "x1", mac=MAC, mtu=1450, vni=1, port=8472, local=ip_address("192.0.2.1"), lower=under
    )

    with pytest.raises(KernelRefused, match="VNI already exists"):
        netlink.request(again)


def test_a_namespace_that_is_not_there_is_named() -> None:
    """One sentence with the path; the calling thread stays where it was."""
    here = os.readlink("/proc/thread-self/ns/net")

    with pytest.raises(KernelRefused, match="/run/netns/no-such-one"):
        Netlink.in_namespace(Path("/run/netns/no-such-one"))

    assert os.readlink("/proc/thread-self/ns/net") == here


def test_the_monitor_is_silent_about_what_its_owner_did(underlay: Path, netlink: Netlink) -> None:
    """A route of the socket it was told is no news; one that ip(8) makes is."""
    index = make_vxlan(netlink)
    monitor = run_inside(underlay, lambda: Monitor(own_port=netlink.port))
    mine, theirs = ip_network("10.5.1.0/24"), ip_network("10.5.2.0/24")

    netlink.request(messages.route_add(mine, link=index))
    ip(underlay, "route", "add", str(theirs), "dev", "overlay.1")

    records = [event.record for event in monitor.read() or []]
    seen = [record.dst for record in records if isinstance(record, parse.RouteInfo)]
    monitor.close()
    with pytest.raises(EOFError):
        monitor.read()
    assert seen == [theirs]


def test_the_monitor_tells_of_changes_and_deletions(underlay: Path, netlink: Netlink) -> None:
    """A route that somebody takes away is an event with the route in it."""
    index = make_vxlan(netlink)
    monitor = run_inside(underlay, Monitor)
    subnet = ip_network("10.5.2.0/24")
    netlink.request(messages.route_add(subnet, link=index, via=subnet[0], onlink=True))
    ip(underlay, "route", "del", "10.5.2.0/24")

    seen: list[bool] = []
    while len(seen) < 2:
        for record in (event.record for event in monitor.read() or []):
            if isinstance(record, parse.RouteInfo) and record.dst == subnet:
                seen.append(record.deleted)
    monitor.close()
    with pytest.raises(EOFError):
        monitor.read()

    assert seen == [False, True]
