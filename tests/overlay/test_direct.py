"""Direct routes: what is wanted for peers on link and off it, per family; a change of way breaks nobody."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.conflicts import contradicting
from overlay.desired import Me, Vtep, desired_node, desired_peer, reserved
from overlay.keys import neighbour_key, route_key
from overlay.model import (
    Action,
    Backend,
    Bridge,
    Endpoint,
    FdbEntry,
    KernelObject,
    Lease,
    LinkAddress,
    Neighbour,
    Network,
    Route,
    Ruleset,
    Sysctl,
    Vxlan,
)
from overlay.onlink import OnLink, Way
from overlay.plan import State, plan, record
from overlay.served import unserved, ways
from overlay.wanted import NODE, Wanted
from tests.overlay.test_desired import POOLS, V4, V6

DIRECT = Network(POOLS, Backend(vni=7, direct_routing=True))
HOST_GW = Network(POOLS, Backend(kind="host-gw"))
NEAR = OnLink((Way(ip_network("192.0.2.0/24"), "eth0"), Way(ip_network("2001:db8::/64"), "eth1")))
ME = Me("k", (V4, V6), "overlay0", connected=NEAR)
PLAIN = Me(
    "k",
    tuple(replace(vtep, link="", mac="", mtu=1500) for vtep in (V4, V6)),
    "overlay0",
    connected=NEAR,
)


def peer(
    number: int, v4: str = "192.0.2.2", v6: str = "2001:db8::2", backend: str = "vxlan"
) -> Lease:
    """A dual-stack record."""
    mac = f"02:00:00:00:01:{number:02x}" if backend == "vxlan" else None
    ends = (
        Endpoint(ip_network(f"10.5.{number}.0/24"), ip_address(v4), mac, 7 if mac else None),
        Endpoint(ip_network(f"fd00:0:0:{number}::/64"), ip_address(v6), mac, 7 if mac else None),
    )
    return Lease(f"p{number}", ends, backend=backend, etcd_lease=1, create_revision=number)


def routes(network: Network, me: Me, lease: Lease) -> list[Route]:
    """What leads to a peer."""
    return [item for item in desired_peer(network, me, lease) if isinstance(item, Route)]


def test_who_is_on_link_has_a_plain_route_by_that_links_device_in_each_family() -> None:
    """Of a packet to an on-link peer nothing shows that there is a tunnel as well."""
    near = peer(2)

    assert routes(DIRECT, ME, near) == [
        Route(ip_network("10.5.2.0/24"), ip_address("192.0.2.2"), "eth0", onlink=False),
        Route(ip_network("fd00:0:0:2::/64"), ip_address("2001:db8::2"), "eth1", onlink=False),
    ]
    assert ways(DIRECT, ME, near) == ("direct by eth0", "direct by eth1")
    mixed = peer(2, v6="2001:db8:1::2")
    assert ways(DIRECT, ME, mixed) == ("direct by eth0", "tunnel")
    assert [it.link for it in routes(DIRECT, ME, mixed)] == ["eth0", "overlay-v6.7"]


def test_without_direct_routing_everybody_goes_by_tunnel() -> None:
    """Whatever is on link."""
    assert {it.link for it in routes(Network(POOLS, Backend(vni=7)), ME, peer(2))} == {
        V4.link,
        V6.link,
    }


def test_the_tunnels_entries_stay_for_a_direct_peer() -> None:
    """So that a change of its way replaces one route, and a contradiction is found whichever way it goes."""
    kinds = [type(item) for item in desired_peer(DIRECT, ME, peer(2))]

    assert kinds == [FdbEntry, Neighbour, Route] * 2
    wanted = Wanted()
    wanted.reserve(reserved(ME))
    wanted.claim("old", age=1, objects=desired_peer(DIRECT, ME, peer(2)))
    wanted.claim(
        "young", age=2, objects=desired_peer(DIRECT, ME, peer(3))
    )  # another MAC, one address
    wanted.claim("mine", age=3, objects=desired_peer(DIRECT, ME, peer(4, v4="192.0.2.1")))
    assert wanted.losers == {"young": "old", "mine": "this node"}


def test_what_is_left_of_an_earlier_network_config_goes_by_tunnel() -> None:
    """Outside of the pod network its packets would be masqueraded on the underlay."""
    end = Endpoint(ip_network("10.9.2.0/24"), ip_address("192.0.2.2"), "02:00:00:00:00:22", 7)

    assert [it.link for it in routes(DIRECT, ME, Lease("p", (end,)))] == ["overlay.7"]


def test_the_tunnel_takes_what_is_answered_directly() -> None:
    """rp_filter of our own device is loose with DirectRouting, and nobody else's is touched."""
    switches = [
        it for it in desired_node(DIRECT, ME) if isinstance(it, Sysctl) and "rp_" in it.path
    ]

    assert switches == [Sysctl("net/ipv4/conf/overlay.7/rp_filter", "2")]
    plain = desired_node(Network(POOLS, Backend(vni=7)), ME)
    assert not [it for it in plain if isinstance(it, Sysctl) and "rp_filter" in it.path]


def test_host_gw_has_a_bridge_and_routes_and_nothing_else() -> None:
    """No device, no MAC, no MTU lost; an old subnet stays on the bridge."""
    me = replace(PLAIN, draining=("10.9.3.0-24",))
    kinds = {type(item) for item in desired_node(HOST_GW, me)}

    assert kinds == {Bridge, Ruleset, Sysctl, LinkAddress, Route}
    placed = [it for it in desired_node(HOST_GW, me) if isinstance(it, LinkAddress | Route)]
    assert {it.link for it in placed} == {"overlay0"}
    assert me.pod_mtu == 1500
    assert {type(item) for item in reserved(me)} == {Route}
    near = peer(2, backend="host-gw")
    assert [type(it) for it in desired_peer(HOST_GW, me, near)] == [Route, Route]
    assert unserved(HOST_GW, me, peer(2)) == "backend vxlan, ours is host-gw"
    text = next(it.text for it in desired_node(HOST_GW, me) if isinstance(it, Ruleset))
    assert 'oifname ""' not in text


def test_host_gw_names_who_is_off_link_and_what_would_reach_it() -> None:
    """By the other family it may be reached nevertheless."""
    far = peer(2, v4="198.51.100.2", v6="2001:db8:1::2", backend="host-gw")

    assert desired_peer(HOST_GW, PLAIN, far) == ()
    why = unserved(HOST_GW, PLAIN, far)
    assert why.startswith("198.51.100.2 is not on link here")
    assert '"DirectRouting":true' in why
    half = peer(2, v4="198.51.100.2", backend="host-gw")
    assert unserved(HOST_GW, PLAIN, half) == ""
    assert ways(HOST_GW, PLAIN, half) == ("direct by eth1",)


def test_host_gw_never_routes_by_way_of_this_node_itself() -> None:
    """An older record of our own: its subnet is nobody's, or on our bridge."""
    assert (
        routes(HOST_GW, PLAIN, peer(2, v4="192.0.2.1", v6="2001:db8::1", backend="host-gw")) == []
    )


def test_of_two_host_gw_records_with_one_subnet_the_older_stands() -> None:
    """One route per subnet; two subnets at one address are one node with an old and a new one."""
    one, two = peer(2, backend="host-gw"), peer(2, v4="192.0.2.3", backend="host-gw")
    late = replace(two, key="late", create_revision=9)

    assert contradicting([late, one]) == {"late": "p2"}
    assert contradicting([one, peer(3, backend="host-gw")]) == {}


# --- a change of way -----------------------------------------------------------------------------------

numbers = st.lists(st.integers(2, 9), unique=True, max_size=5)
near_sets = st.sets(st.integers(2, 9))


def state(network: Network, present: list[int], near: set[int]) -> dict[object, KernelObject]:
    """What is wanted where those in ``near`` are on link."""
    me = replace(
        ME, connected=OnLink(tuple(Way(ip_network(f"198.51.100.{n}/32"), "eth0") for n in near))
    )
    if not network.backend.tunnels:
        me = replace(me, vteps=PLAIN.vteps)
    wanted = Wanted()
    wanted.claim(NODE, age=-1, objects=desired_node(network, me))
    for n in present:
        lease = peer(n, v4=f"198.51.100.{n}", backend=network.backend.kind)
        wanted.claim(lease.key, age=n, objects=desired_peer(network, me, lease))
    return dict(wanted.want)


def reached(have: State, number: int) -> bool:
    """True if a packet for the peer's IPv4 subnet would arrive at it: directly, or by a tunnel that is whole."""
    route = have.get(route_key(ip_network(f"10.5.{number}.0/24")))
    if not isinstance(route, Route):
        return False
    if not route.onlink:
        return route.via == ip_address(f"198.51.100.{number}")
    hop = have.get(neighbour_key(route.link, route.via)) if route.via else None
    entry = have.get(("fdb", route.link, hop.mac)) if isinstance(hop, Neighbour) else None
    device = have.get(("link", route.link))
    right = isinstance(entry, FdbEntry) and entry.underlay == ip_address(f"198.51.100.{number}")
    return right and isinstance(device, Vxlan)


@pytest.mark.parametrize(
    ("old", "new"),
    [(DIRECT, DIRECT), (HOST_GW, DIRECT), (DIRECT, HOST_GW), (HOST_GW, HOST_GW)],
    ids=["direct", "host-gw to vxlan", "vxlan to host-gw", "host-gw"],
)
@given(numbers, near_sets, near_sets)
def test_no_step_of_a_change_of_way_loses_a_peer_that_is_reached_before_and_after(
    old: Network, new: Network, present: list[int], before: set[int], after: set[int]
) -> None:
    """Direct to tunnel and back, one backend to the other: after every single step."""
    have, want = state(old, present, before), state(new, present, after)
    steady = [n for n in present if reached(have, n) and reached(want, n)]
    now = dict(have)
    for step in plan(want, have):
        record(now, step)
        assert all(reached(now, n) for n in steady), step
    assert now == want


def test_a_change_of_way_is_one_replaced_route_per_family() -> None:
    """Nothing is made and nothing removed."""
    tunnelled = {
        it.key: it for it in desired_peer(DIRECT, replace(ME, connected=OnLink()), peer(2))
    }
    direct = {it.key: it for it in desired_peer(DIRECT, ME, peer(2))}

    steps = plan(direct, tunnelled)

    assert [(step.action, type(step.object)) for step in steps] == [(Action.REPLACE, Route)] * 2


def test_a_vtep_without_a_device_is_said_by_empty_names() -> None:
    """What the agent makes for host-gw."""
    bare = Vtep(V4.subnet, "", "", V4.local, "eth0", 1500)

    assert desired_node(HOST_GW, Me("k", (bare,), "overlay0"))
