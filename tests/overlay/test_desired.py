"""desired: what a node needs, per family, from one loop."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from overlay.desired import Me, Vtep, desired_node, desired_peer, device_name, reserved
from overlay.model import (
    Backend,
    Bridge,
    Endpoint,
    Family,
    FdbEntry,
    Lease,
    LinkAddress,
    Neighbour,
    Network,
    Pool,
    Route,
    Sysctl,
    Vxlan,
)
from overlay.served import half, unserved

POOLS = (
    Pool(ip_network("10.5.0.0/16"), 24, ip_network("10.5.1.0/24"), ip_network("10.5.255.0/24")),
    Pool(
        ip_network("fd00::/48"), 64, ip_network("fd00:0:0:1::/64"), ip_network("fd00:0:0:ffff::/64")
    ),
)
V4 = Vtep(
    ip_network("10.5.1.0/24"),
    "overlay.7",
    "02:00:00:00:00:01",
    ip_address("192.0.2.1"),
    "eth0",
    1450,
)
V6 = Vtep(
    ip_network("fd00:0:0:1::/64"),
    "overlay-v6.7",
    "02:00:00:00:00:02",
    ip_address("2001:db8::1"),
    "eth0",
    1430,
)
NETWORK = Network(POOLS, Backend(vni=7))
BOTH = Me("k", (V4, V6), "overlay0")


def test_a_dual_stack_node_has_two_devices_one_bridge_and_the_smaller_mtu() -> None:
    """Family is data: the same objects twice, with other addresses."""
    objects = desired_node(NETWORK, BOTH)

    assert [item.name for item in objects if isinstance(item, Vxlan)] == [
        "overlay.7",
        "overlay-v6.7",
    ]
    assert [item.mtu for item in objects if isinstance(item, Bridge)] == [1430]
    assert {item for item in objects if isinstance(item, LinkAddress)} == {
        LinkAddress("overlay.7", ip_interface("10.5.1.0/32")),
        LinkAddress("overlay-v6.7", ip_interface("fd00:0:0:1::/128")),
        LinkAddress("overlay0", ip_interface("10.5.1.1/24")),
        LinkAddress("overlay0", ip_interface("fd00:0:0:1::1/64")),
        LinkAddress("overlay0", ip_interface("fe80::858:aff:fe05:101/64")),
    }
    assert {(str(item.dst), str(item.source)) for item in objects if isinstance(item, Route)} == {
        ("10.5.1.0/24", "10.5.1.1"),
        ("fd00:0:0:1::/64", "None"),
    }
    paths = {item.path for item in objects if isinstance(item, Sysctl)}
    assert {"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} <= paths
    assert f"net/ipv4/conf/{V4.underlay}/forwarding" in paths


def test_an_underlay_whose_name_is_no_text_asks_for_no_switch_of_that_name() -> None:
    """There is none under /proc/sys by the name that we know, and what cannot be done would keep pods away."""
    me = replace(BOTH, vteps=(replace(V4, underlay="e\ufffdx"), V6))
    paths = {item.path for item in desired_node(NETWORK, me) if isinstance(item, Sysctl)}
    assert not [path for path in paths if "\ufffd" in path]
    assert {"net/ipv4/ip_forward", "net/ipv4/conf/overlay.7/forwarding"} <= paths


def test_no_router_advertisement_of_a_pod_is_believed() -> None:
    """CVE-2020-13597, on an IPv4-only node too; unless the kernel has no IPv6 at all."""
    only = Me("k", (V4,), "overlay0")
    none = Me("k", (V4,), "overlay0", ipv6_host=False)

    assert Sysctl("net/ipv6/conf/overlay0/accept_ra", "0") in desired_node(NETWORK, only)
    assert not any(
        "ipv6" in str(item) for item in desired_node(NETWORK, none) if isinstance(item, Sysctl)
    )


def test_a_peer_is_one_route_one_neighbour_and_one_fdb_entry_per_family() -> None:
    """Each over its own device."""
    ends = (
        Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2"), "02:00:00:00:00:0a", 7),
        Endpoint(ip_network("fd00:0:0:2::/64"), ip_address("2001:db8::2"), "02:00:00:00:00:0b", 7),
    )
    objects = desired_peer(NETWORK, BOTH, Lease("k2", ends))

    assert [type(item) for item in objects] == [FdbEntry, Neighbour, Route] * 2
    assert [item.link for item in objects if isinstance(item, Route)] == [
        "overlay.7",
        "overlay-v6.7",
    ]


@pytest.mark.parametrize(
    "lease",
    [
        Lease("k", (Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2")),)),
        Lease("k", (Endpoint(ip_network("10.5.2.0/24"), None, "02:00:00:00:00:0a"),)),
        Lease(
            "k",
            (Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2"), "02:00:00:00:00:0a"),),
            backend="wireguard",
        ),
    ],
    ids=["no MAC", "no address", "another backend"],
)
def test_a_peer_that_cannot_be_reached_by_vxlan_gets_nothing(lease: Lease) -> None:
    """Skipped, never half programmed."""
    assert desired_peer(NETWORK, BOTH, lease) == ()


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("vni", [1, 4096, 9_999_999, (1 << 24) - 1])
def test_a_device_name_always_fits_the_kernel(family: Family, vni: int) -> None:
    """15 characters, and the VNI is readable in it."""
    name = device_name(family, vni)

    assert len(name) <= 15
    assert name.endswith(f".{vni}")


def test_an_old_subnet_is_served_until_its_pods_are_gone() -> None:
    """The network config changed: the bridge keeps the old gateway, and no peer may claim the old subnet."""
    me = Me("10.5.1.0-24", (V4,), "overlay0", draining=("10.9.3.0-24",))

    objects = desired_node(NETWORK, me)

    assert LinkAddress("overlay0", ip_interface("10.9.3.1/24")) in objects
    assert LinkAddress("overlay.7", ip_interface("10.9.3.0/32")) in objects
    assert Route(ip_network("10.9.3.0/24"), ip_address("10.9.3.0"), "overlay0") in reserved(me)
    assert me.own_keys == {"10.5.1.0-24", "10.9.3.0-24"}
    assert [key for key in (*me.own_keys, "10.5.2.0-24") if not me.owns(key)] == ["10.5.2.0-24"]


def test_a_family_that_the_node_lost_is_not_drained() -> None:
    """An IPv6 subnet of old cannot be served without an IPv6 tunnel."""
    me = Me("10.5.1.0-24", (V4,), "overlay0", draining=("10.5.1.0-24&fd00:0:0:9::-64",))

    assert me.old_subnets == ()


@pytest.mark.parametrize(
    ("end", "backend", "why"),
    [
        (
            Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2"), "02:00:00:00:00:22", 7),
            "vxlan",
            "",
        ),
        (
            Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2"), "02:00:00:00:00:22"),
            "vxlan",
            "",
        ),
        (
            Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2"), "02:00:00:00:00:22", 1),
            "vxlan",
            "VNI 1, ours is 7",
        ),
        (
            Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2"), None, 7),
            "vxlan",
            "its record has no VtepMAC",
        ),
        (
            Endpoint(ip_network("10.5.2.0/24"), None, "02:00:00:00:00:22", 7),
            "vxlan",
            "its record has no PublicIP",
        ),
        (
            Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2")),
            "",
            "backend udp, ours is vxlan",
        ),
        (
            Endpoint(
                ip_network("fd00:0:0:2::/64"), ip_address("2001:db8::2"), "02:00:00:00:00:22", 7
            ),
            "vxlan",
            "this node has no V6 tunnel",
        ),
    ],
)
def test_a_peer_that_is_not_served_has_a_reason_and_no_object(
    end: Endpoint, backend: str, why: str
) -> None:
    """The reason and the objects come from one judgement."""
    me, peer = Me("k", (V4,), "overlay0"), Lease("p", (end,), backend=backend, etcd_lease=5)

    assert unserved(NETWORK, me, peer) == why
    assert bool(desired_peer(NETWORK, me, peer)) == (why == "")


def test_a_peer_that_one_family_reaches_is_served() -> None:
    """Dual-stack records in an IPv4 cluster."""
    ends = (
        Endpoint(ip_network("10.5.2.0/24"), ip_address("192.0.2.2"), "02:00:00:00:00:22", 7),
        Endpoint(ip_network("fd00:0:0:2::/64"), ip_address("2001:db8::2"), None),
    )
    assert unserved(NETWORK, Me("k", (V4,), "overlay0"), Lease("p", ends)) == ""
    assert half(NETWORK, Me("k", (V4,), "overlay0"), Lease("p", ends)) == ""
    assert half(NETWORK, Me("k", (V4, V6), "overlay0"), Lease("p", ends)) == (
        "V6 not served: its record has no VtepMAC"
    )
    assert half(NETWORK, Me("k", (V4, V6), "overlay0"), Lease("p", ends[1:])) == ""


def test_a_bridge_of_another_program_keeps_its_mac() -> None:
    """It is the gateway's MAC in every old pod's cache."""
    me = Me("k", (V4,), "cni0", bridge_mac="c6:d2:32:6f:8f:44")

    assert [item.mac for item in desired_node(NETWORK, me) if isinstance(item, Bridge)] == [
        "c6:d2:32:6f:8f:44"
    ]


@pytest.mark.parametrize(
    ("subnet", "why"),
    [
        ("0.0.0.0/0", "its subnet is wider than the network 10.5.0.0/16"),
        ("128.0.0.0/1", "its subnet is wider than the network 10.5.0.0/16"),
        ("192.0.2.0/25", "its subnet holds the underlay address 192.0.2.1"),
        ("192.0.2.8/30", "its subnet holds the underlay address 192.0.2.9"),
        ("10.5.1.128/25", "its subnet overlaps this node's own, 10.5.1.0/24"),
        ("10.5.0.0/23", "its subnet overlaps this node's own, 10.5.1.0/24"),
        ("10.5.1.0/24", ""),  # settled as a contradiction
        ("10.7.8.0/24", ""),  # of the network of before
    ],
)
def test_a_record_does_not_draw_other_traffic_into_the_tunnel(subnet: str, why: str) -> None:
    """Neither a default route nor the underlay itself comes from etcd."""
    end = Endpoint(ip_network(subnet), ip_address("192.0.2.9"), "02:00:00:00:00:09", 7)
    peer, me = Lease("p", (end,)), Me("k", (V4,), "overlay0")

    assert unserved(NETWORK, me, peer) == why
    assert bool(desired_peer(NETWORK, me, peer)) == (why == "")


def test_a_reservation_is_called_one() -> None:
    """It names a subnet and perhaps a node, and no backend."""
    peer = Lease("p", (Endpoint(ip_network("10.5.9.0/24")),), backend="")

    assert unserved(NETWORK, Me("k", (V4,), "overlay0"), peer) == (
        "reserved, no node has taken it up"
    )


def test_an_older_record_of_our_own_is_no_peer() -> None:
    """A route into the tunnel would replace the one that leads to the old pods on our bridge."""
    end = Endpoint(ip_network("10.9.3.0/24"), V4.local, V4.mac, 7)

    assert desired_peer(NETWORK, BOTH, Lease("10.9.3.0-24", (end,))) == ()
