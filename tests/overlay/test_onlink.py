"""onlink: the longest prefix decides, as a naive look through all routes would; what cannot matter is left out."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.model import ROUTE_PROTOCOL, Address
from overlay.netlink import LinkInfo, RouteInfo, messages, parse, sift
from overlay.netlink.attributes import HEADER
from overlay.onlink import NOTHING, OnLink, on_link

MAC = "02:00:00:00:00:01"


def link(index: int, name: str, mac: str = MAC) -> LinkInfo:
    """An interface."""
    return LinkInfo(index, name, "", mac, 1500, True, True, "", 0, 0, 0, None)


LINKS = {2: link(2, "eth0"), 3: link(3, "eth1"), 4: link(4, "wg0", ""), 5: link(5, "overlay.1")}


def route(dst: str, via: str = "", index: int = 2, **more: int) -> RouteInfo:
    """One of the main table."""
    return RouteInfo(
        dst=ip_network(dst),
        via=ip_address(via) if via else None,
        link=index,
        table=more.get("table", 254),
        protocol=more.get("protocol", 4),
        kind=more.get("kind", 1),
        metric=more.get("metric", 0),
        onlink=False,
        source=None,
    )


def found(*routes: RouteInfo) -> OnLink:
    """What is on link by these routes."""
    return on_link(routes, LINKS, ours={"overlay.1"})


@pytest.mark.parametrize(
    ("routes", "address", "device"),
    [
        ((), "192.0.2.9", ""),
        ((route("192.0.2.0/24"),), "192.0.2.9", "eth0"),
        ((route("192.0.2.0/24"),), "192.0.3.9", ""),
        ((route("192.0.2.0/24"), route("192.0.2.9/32", "192.0.2.1")), "192.0.2.9", ""),
        ((route("192.0.2.0/24"), route("192.0.2.8/30", index=3)), "192.0.2.9", "eth1"),
        ((route("192.0.2.0/24", metric=200, index=3), route("192.0.2.0/24", metric=100)), "192.0.2.9", "eth0"),
        ((route("192.0.2.0/24"), route("192.0.2.0/24", "192.0.2.1", metric=9)), "192.0.2.9", "eth0"),
        ((route("192.0.2.0/24", metric=9), route("192.0.2.0/24", "192.0.2.1")), "192.0.2.9", ""),
        ((route("0.0.0.0/0"),), "192.0.2.9", ""),
        ((route("192.0.2.0/24", index=4),), "192.0.2.9", ""),
        ((route("192.0.2.0/24", index=99),), "192.0.2.9", ""),
        ((route("192.0.2.0/24", table=100),), "192.0.2.9", ""),
        ((route("192.0.2.0/24"), route("192.0.2.9/32", index=0, kind=7)), "192.0.2.9", ""),
        ((route("192.0.2.0/24"), route("192.0.2.8/29", "192.0.2.2", protocol=ROUTE_PROTOCOL)), "192.0.2.9", "eth0"),
        ((route("192.0.2.0/24"), route("192.0.2.8/29", "192.0.2.8", index=5)), "192.0.2.9", "eth0"),
        ((route("2001:db8::/64", metric=256),), "2001:db8::9", "eth0"),
        ((route("2001:db8::/64"), route("2001:db8::9/128", "fe80::1")), "2001:db8::9", ""),
        ((route("fe80::/64", metric=256),), "fe80::9", ""),
    ],
    ids=[
        "no route", "connected", "another net", "more special by a gateway", "more special on another link",
        "the lower metric", "a worse one by a gateway", "a better one by a gateway", "a bare default route",
        "no MAC, no neighbours", "a link that is gone", "another table", "unreachable", "ours by protocol",
        "ours by device", "IPv6", "IPv6 by a gateway", "link-local",
    ],
)  # fmt: skip
def test_the_best_route_of_the_host_decides(
    routes: tuple[RouteInfo, ...], address: str, device: str
) -> None:
    """On link is what the best one reaches without a gateway; then by that route's device."""
    assert found(*routes).link_to(ip_address(address)) == device


def test_the_devices_that_peers_may_be_on_are_known() -> None:
    """One that goes down takes routes with it, of which the kernel says nothing."""
    judged = found(
        route("192.0.2.0/24"), route("198.51.100.0/24", index=3), route("192.0.2.9/32", "192.0.2.1")
    )

    assert judged.links == {"eth0", "eth1"}
    assert str(judged) == "192.0.2.0/24 eth0, 192.0.2.9/32 elsewhere, 198.51.100.0/24 eth1"


def test_a_route_with_several_next_hops_or_an_odd_gateway_is_not_plain() -> None:
    """Which of them would be taken, nobody can say here."""
    odd = RouteInfo(ip_network("192.0.2.0/24"), None, 2, 254, 4, 1, 0, False, None, plain=False)

    assert found(odd) == NOTHING


def small(bits: int, version: int) -> st.SearchStrategy[tuple[int, int]]:
    """(number, length) of prefixes that often overlap."""
    base = 10 << (bits - 8) if version == 4 else 0xFD << (bits - 8)
    return st.tuples(st.integers(0, 255), st.integers(8, 24)).map(
        lambda pair: (base | pair[0] << (bits - 16) | pair[0] * 7 % 256 << (bits - 24), pair[1])
    )


def _routes(version: int) -> st.SearchStrategy[list[RouteInfo]]:
    bits, base = (32, IPv4Address) if version == 4 else (128, IPv6Address)
    gateway = "10.255.255.254" if version == 4 else "fdff::1"

    def made(facts: tuple[tuple[int, int], bool, int, int]) -> RouteInfo:
        (number, length), direct, index, metric = facts
        dst = ip_network((base(number), length), strict=False)
        return route(str(dst), "" if direct else gateway, index, metric=metric)

    each = st.tuples(small(bits, version), st.booleans(), st.integers(2, 4), st.integers(0, 3))
    return st.lists(each.map(made), max_size=12)


def naive(routes: list[RouteInfo], address: Address) -> str:
    """The oracle: sort all that match, and look at the first."""
    matching = [one for one in routes if address in one.dst]
    if not matching:
        return ""
    best = min(matching, key=lambda one: (-one.dst.prefixlen, one.metric))
    return LINKS[best.link].name if best.via is None and best.link != 4 else ""


@given(
    st.sampled_from((4, 6)).flatmap(lambda version: st.tuples(st.just(version), _routes(version))),
    st.data(),
)
def test_any_table_is_judged_as_a_naive_look_would(
    table: tuple[int, list[RouteInfo]], data: st.DataObject
) -> None:
    """For addresses in and around every route; leaving out what cannot matter changes no answer."""
    version, routes = table
    bits, base = (32, IPv4Address) if version == 4 else (128, IPv6Address)
    number, _ = data.draw(small(bits, version))
    asked = {
        base(number),
        *(one.dst.network_address for one in routes),
        *(one.dst.broadcast_address for one in routes),
    }
    judged = found(*routes)

    for address in asked:
        assert judged.link_to(address) == naive(routes, address)
    sifted = found(*sift.near(_body(one) for one in routes))
    assert all(sifted.link_to(address) == judged.link_to(address) for address in asked)
    again = found(*reversed(routes)) if len({one.dst for one in routes}) == len(routes) else judged
    assert again == judged


def _body(one: RouteInfo) -> bytes:
    """As the kernel sends it; the metric goes as its attribute."""
    message = messages.route_add(one.dst, link=one.link, via=one.via, protocol=one.protocol)
    body = message[HEADER.size :] + b"\x08\x00\x06\x00" + one.metric.to_bytes(4, "little")
    assert parse.parse_route(body) == one
    return body


def test_of_a_long_table_only_what_can_matter_is_made_an_object() -> None:
    """Default routes, those on link, and those inside of these."""
    bodies = [_body(route(f"{n}.0.0.0/8", "192.0.2.1")) for n in range(20, 200)]
    near = [
        route("0.0.0.0/0", "192.0.2.1"),
        route("192.0.2.0/24"),
        route("192.0.2.9/32", "192.0.2.1"),
    ]

    assert sift.near([*bodies, *map(_body, near)]) == near
