"""Whose is what: of any mix of objects an agent takes its own for its own, all of them and no other."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.dataplane.read import AF_BRIDGE, NTF_SELF, NUD_PERMANENT, Links, convert
from overlay.desired import desired_node, desired_peer
from overlay.marks import INSTANCE, Marks, is_conflist, owner_of
from overlay.model import Action, Bridge, Family, KernelObject, Route, Ruleset, Vxlan
from overlay.netlink import AddressInfo, LinkInfo, NeighbourInfo, RouteInfo
from overlay.netlink.parse import Record
from overlay.netlink.vxlan_info import VxlanInfo
from overlay.onlink import OnLink, Way
from overlay.plan import plan
from tests.agent.one_node import lease
from tests.examples import ME, NETWORK

FIRST, BLUE = Marks(), Marks("blue")
FOREIGN = None
MAIN, UNICAST = 254, 1
ETH0 = LinkInfo(1, "eth0", "", "02:00:00:00:00:f0", 1500, True, True, "", 0, 0, 0, None)
instances = st.from_regex(INSTANCE, fullmatch=True)


@dataclass(frozen=True)
class Thing:
    """A record of the kernel and whose it is."""

    owner: Marks | None
    record: Record


def link(index: int, kind: str, alias: str, vni: int) -> LinkInfo:
    """A device of any kind."""
    vxlan = VxlanInfo(vni, 8472, ip_address("192.0.2.1"), ETH0.index, False, False)
    return LinkInfo(
        index,
        f"{kind}{index}",
        kind,
        f"02:00:00:00:01:{index:02x}",
        1450,
        True,
        True,
        alias,
        0,
        0,
        0,
        vxlan if kind == "vxlan" else None,
    )


@st.composite
def hosts(draw: st.DrawFn) -> list[Thing]:
    """Devices of three owners, what each has on its own, and routes over the underlay's interface."""
    things = [Thing(FOREIGN, ETH0)]
    owners = st.sampled_from([FIRST, BLUE, FOREIGN])
    for index in range(2, 2 + draw(st.integers(0, 6))):
        owner, kind = draw(owners), draw(st.sampled_from(["vxlan", "bridge"]))
        mark = "" if owner is None else owner.vtep_alias if kind == "vxlan" else owner.bridge_alias
        theirs = st.sampled_from(["", "docker", "overlay-", "overlay", "my-overlay:vtep"])
        alias = draw(theirs) if owner is None else mark
        things.append(Thing(owner, link(index, kind, alias, draw(st.integers(1, 3)))))
    for number, thing in enumerate(list(things)):
        for step in range(draw(st.integers(0, 3))):
            things += draw(entries(thing, 10 * number + step))
    for number in range(draw(st.integers(0, 4))):
        owner = draw(owners)
        protocol = owner.route_protocol if owner else draw(st.sampled_from([2, 3, 4, 16, 186]))
        subnet = ip_network(f"10.7.{number}.0/24")
        via = ip_address("192.0.2.9")
        found = RouteInfo(subnet, via, ETH0.index, MAIN, protocol, UNICAST, 0, False, None)
        things.append(Thing(owner, found))
    return things


def entries(on: Thing, number: int) -> st.SearchStrategy[list[Thing]]:
    """What its owner has put on a device."""
    device = on.record
    assert isinstance(device, LinkInfo)
    mac, via = f"02:00:00:00:02:{number:02x}", ip_address(f"10.5.{number}.0")
    subnet, there = ip_network(f"10.5.{number}.0/24"), ip_address("192.0.2.9")
    protocol = on.owner.route_protocol if on.owner else 3
    af = Family.V4.af
    tunnel: list[Record] = [
        RouteInfo(subnet, via, device.index, MAIN, protocol, UNICAST, 0, True, None),
        NeighbourInfo(af, device.index, via, mac, NUD_PERMANENT, 0, True),
        NeighbourInfo(AF_BRIDGE, device.index, there, mac, NUD_PERMANENT, NTF_SELF, True),
    ]
    address = AddressInfo(device.index, ip_interface(f"10.5.{number}.1/24"), 0, 0)
    chosen = [*(tunnel if device.kind == "vxlan" else []), address]
    return st.lists(st.sampled_from(chosen), max_size=4, unique=True).map(
        lambda records: [Thing(on.owner, record) for record in records]
    )


@given(hosts(), st.sampled_from([FIRST, BLUE]), st.booleans())
def test_an_agent_sees_its_own_objects_and_no_other(
    things: list[Thing], ours: Marks, wants_theirs: bool
) -> None:
    """Also where it wants devices by the names of others': then nothing is deleted, replaced or taken over."""
    links = [thing.record for thing in things if isinstance(thing.record, LinkInfo)]
    wanted = wanted_of(things, ours, theirs=wants_theirs)
    seen = Links.of(links, wanted, ours)
    have: dict[Hashable, KernelObject] = {}
    for thing in things:
        item = convert(thing.record, seen)
        assert (item is not None) == (thing.owner == ours), thing
        if item is not None:
            have.setdefault(item.key, item)

    steps = plan({item.key: item for item in wanted.values()}, have)
    touched = {step.was for step in steps if step.action is not Action.ADD}
    assert touched <= set(have.values())


def wanted_of(things: list[Thing], ours: Marks, *, theirs: bool) -> dict[str, Vxlan | Bridge]:
    """Our devices as they are; with ``theirs`` we want another's names as well, for a network of our own."""
    found: dict[str, Vxlan | Bridge] = {}
    for thing in things:
        device = thing.record
        if not isinstance(device, LinkInfo) or not device.kind:
            continue
        if thing.owner != ours and (not theirs or thing.owner is FOREIGN):
            continue
        name, mac, mtu = device.name, device.mac, device.mtu
        vni = device.vxlan.vni if device.vxlan else 0
        found[name] = (
            Vxlan(name, mac, mtu, vni, 8472, ip_address("192.0.2.1"), "eth0")
            if device.kind == "vxlan"
            else Bridge(name, mac, mtu)
        )
    return found


@given(instances)
def test_every_name_gives_marks_that_no_other_agent_takes_for_its_own(name: str) -> None:
    """And what the kernel, nft and the file system hold of it fits."""
    marks = Marks(name)
    for alias in (marks.vtep_alias, marks.bridge_alias):
        assert owner_of(alias) == marks
        assert marks.are_on(alias)
        assert not FIRST.are_on(alias)
        assert FIRST.are_of_another(alias)
    assert not marks.are_on(FIRST.vtep_alias)
    assert len(marks.bridge) <= 15
    assert marks.route_protocol not in (FIRST.route_protocol, *range(100), 186, 188)
    assert is_conflist(marks.conflist)
    assert FIRST.conflist < marks.conflist


def test_without_a_name_all_is_as_it_was() -> None:
    """An upgrade of a node with one agent finds what it left."""
    assert (FIRST.vtep_alias, FIRST.bridge_alias) == ("overlay:vtep", "overlay:bridge")
    assert (FIRST.table, FIRST.route_protocol) == ("inet overlay", 158)
    assert (FIRST.name, FIRST.conflist) == ("overlay", "10-overlay.conflist")
    assert (FIRST.bridge, FIRST.run_dir) == ("overlay0", "/run/overlay")
    assert FIRST.state_dir == "/var/lib/overlay"


@pytest.mark.parametrize("direct", [False, True], ids=["tunnel", "direct"])
def test_all_that_is_wanted_for_an_instance_bears_its_marks(*, direct: bool) -> None:
    """Routes of either way, and the table."""
    near = OnLink((Way(ip_network("192.0.2.0/24"), "eth0"),))
    me = replace(ME, instance="blue", connected=near)
    network = replace(NETWORK, backend=replace(NETWORK.backend, direct_routing=direct))
    objects = [*desired_node(network, me), *desired_peer(network, me, lease(2))]
    routes = [item for item in objects if isinstance(item, Route)]
    [route] = [item for item in routes if item.link != "overlay0"]  # the kernel's own has its mark
    assert (route.link, route.protocol) == ("eth0" if direct else "overlay.1", BLUE.route_protocol)
    [table] = [item for item in objects if isinstance(item, Ruleset)]
    assert table.table == "inet overlay-blue"
    assert "add table inet overlay-blue\n" in table.text


@pytest.mark.parametrize(
    ("alias", "owner"),
    [
        ("overlay:vtep", FIRST),
        ("overlay:sha256", FIRST),
        ("overlay-blue:bridge", BLUE),
        ("overlay:overlay-blue/c1/eth0", None),
        ("overlay-:vtep", None),
        ("overlay-Blue:vtep", None),
        ("", None),
    ],
)
def test_an_alias_says_whose_a_device_is(alias: str, owner: Marks | None) -> None:
    """A pod's has a path behind."""
    assert owner_of(alias) == owner


def test_a_peers_route_of_another_instance_is_not_ours_though_it_leads_over_the_same_interface() -> (
    None
):
    """DirectRouting of both: only the protocol tells."""
    seen = Links.of([ETH0], {}, FIRST)
    subnet, via = ip_network("10.6.2.0/24"), ip_address("192.0.2.2")
    theirs = RouteInfo(subnet, via, 1, MAIN, BLUE.route_protocol, UNICAST, 0, False, None)
    assert convert(theirs, seen) is None
    found = convert(theirs, Links.of([ETH0], {}, BLUE))
    assert isinstance(found, Route)
    assert found.protocol == BLUE.route_protocol
