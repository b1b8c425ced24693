"""Which addresses are on link, and by which device: what DirectRouting and host-gw are decided by. Pure.

A peer is on link if the longest of the host's own routes to its underlay address leads to a device without a
gateway: then a plain route to the pod subnet by way of that address works, and needs no encapsulation. Our
own routes say nothing about that, a default route without a gateway neither (it says where everything else
is sent), and a link without a MAC (wireguard, tun, ppp, ipip) has no neighbours that take packets for others.

Only what can matter is kept: routes without a gateway, and those that lie inside one of these and win over it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from overlay.model import ROUTE_PROTOCOL, Address, Subnet
from overlay.netlink import LinkInfo, RouteInfo
from overlay.netlink.constants import RT_TABLE_MAIN, RTN_UNICAST

_NO_MAC = ("", "00:00:00:00:00:00")
_Index = dict[int, dict[int, dict[int, str]]]
"""IP version → prefix length, longest first → the prefix as a number → the device."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a destination is: at ``link``, or ("") behind a gateway or nowhere."""

    dst: Subnet
    link: str


@dataclass(frozen=True, slots=True)
class OnLink:
    """The host's routes at one moment, as far as they can matter. A question costs the prefix lengths there are."""

    ways: tuple[Way, ...] = ()
    _index: _Index = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the ways once."""
        index: _Index = {4: {}, 6: {}}
        for way in sorted(self.ways, key=lambda way: -way.dst.prefixlen):
            by_prefix = index[way.dst.version].setdefault(way.dst.prefixlen, {})
            by_prefix[_prefix(way.dst)] = way.link
        object.__setattr__(self, "_index", index)

    @property
    def links(self) -> frozenset[str]:
        """The devices that something is on link by."""
        return frozenset(way.link for way in self.ways if way.link)

    def link_to(self, address: Address) -> str:
        """The device that an address is on link by; empty if it is behind a gateway, or nowhere."""
        number, bits = int(address), address.max_prefixlen
        for length, by_prefix in self._index[address.version].items():
            link = by_prefix.get(number >> (bits - length))
            if link is not None:
                return link
        return ""

    def covers(self, dst: Subnet) -> bool:
        """True if a destination lies inside a known one, so that a route to it may change what is on link."""
        number, bits = int(dst.network_address), dst.max_prefixlen
        return any(
            length <= dst.prefixlen and number >> (bits - length) in by_prefix
            for length, by_prefix in self._index[dst.version].items()
        )

    def __str__(self) -> str:
        return ", ".join(f"{way.dst} {way.link or 'elsewhere'}" for way in self.ways) or "nothing"


NOTHING = OnLink()


def on_link(
    routes: Iterable[RouteInfo],
    links: Mapping[int, LinkInfo],
    *,
    ours: Collection[str],
    protocol: int = ROUTE_PROTOCOL,
) -> OnLink:
    """From a host's routes in the order of its dump, and its links by index.

    ``ours`` are the names of our devices, ``protocol`` is that of our routes.
    """
    best: dict[Subnet, tuple[int, str]] = {}
    for route in routes:
        name = links[route.link].name if route.link in links else ""
        odd = route.table != RT_TABLE_MAIN or route.protocol == protocol or name in ours
        if odd or not route.dst.prefixlen or route.dst.is_link_local:
            continue
        if route.dst not in best or route.metric < best[route.dst][0]:
            neighbours = route.link in links and links[route.link].mac not in _NO_MAC
            plain = route.kind == RTN_UNICAST and route.via is None and route.plain
            best[route.dst] = (route.metric, name if plain and neighbours else "")
    near = OnLink(tuple(Way(dst, link) for dst, (_, link) in best.items() if link))
    ways = [Way(dst, link) for dst, (_, link) in best.items() if link or near.covers(dst)]
    return OnLink(tuple(sorted(ways, key=lambda way: (way.dst.version, way.dst))))


def _prefix(dst: Subnet) -> int:
    return int(dst.network_address) >> (dst.max_prefixlen - dst.prefixlen)
