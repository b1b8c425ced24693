"""Kernel records → model objects, and which of them are ours (the mark table in overlay.model). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from overlay.model import (
    ALIAS_PREFIX,
    ROUTE_PROTOCOL,
    Bridge,
    Family,
    FdbEntry,
    KernelObject,
    LinkAddress,
    Neighbour,
    Route,
    Vxlan,
)
from overlay.netlink import AddressInfo, LinkInfo, NeighbourInfo, RouteInfo
from overlay.netlink.parse import Record

AF_BRIDGE = 7
NUD_PERMANENT = 0x80
NTF_SELF = 0x02
RTN_UNICAST = 1
RTPROT_KERNEL = 2
RT_TABLE_MAIN = 254
SCOPE_LINK = 253
"""linux/neighbour.h, linux/rtnetlink.h."""


@dataclass(frozen=True, slots=True)
class Links:
    """The host's links at one moment. ``wanted`` are the names that are ours by configuration."""

    by_index: dict[int, LinkInfo]
    by_name: dict[str, LinkInfo]
    wanted: frozenset[str]

    @staticmethod
    def of(links: Iterable[LinkInfo], wanted: Iterable[str]) -> "Links":
        """Index them."""
        found = tuple(links)
        return Links(
            {link.index: link for link in found},
            {link.name: link for link in found},
            frozenset(wanted),
        )

    def ours(self, index: int, kind: str) -> str | None:
        """The name of our link of a kind at this index, or None if it is not ours."""
        link = self.by_index.get(index)
        if link is None or link.kind != kind:
            return None
        marked = link.alias.startswith(ALIAS_PREFIX) and "/" not in link.alias
        return link.name if marked or link.name in self.wanted else None


def convert(record: Record, links: Links) -> KernelObject | None:
    """The object a record stands for, or None if it is not ours."""
    match record:
        case LinkInfo():
            return _link(record, links)
        case AddressInfo():
            return _address(record, links)
        case RouteInfo():
            return _route(record, links)
        case NeighbourInfo():
            return _neighbour(record, links)


def _link(link: LinkInfo, links: Links) -> KernelObject | None:
    if links.ours(link.index, "bridge"):
        return Bridge(link.name, link.mac, link.mtu, link.up)
    if link.vxlan is None or not links.ours(link.index, "vxlan") or link.vxlan.local is None:
        return None
    lower = links.by_index.get(link.vxlan.lower)
    return Vxlan(
        name=link.name,
        mac=link.mac,
        mtu=link.mtu,
        vni=link.vxlan.vni,
        port=link.vxlan.port,
        local=link.vxlan.local,
        underlay=lower.name if lower else "",
        learning=link.vxlan.learning,
        gbp=link.vxlan.gbp,
        up=link.up,
    )


def _address(info: AddressInfo, links: Links) -> KernelObject | None:
    name = links.ours(info.link, "bridge") or links.ours(info.link, "vxlan")
    return LinkAddress(name, info.address) if name and info.scope != SCOPE_LINK else None


def _route(info: RouteInfo, links: Links) -> KernelObject | None:
    if info.kind != RTN_UNICAST or info.table != RT_TABLE_MAIN or info.protocol == RTPROT_KERNEL:
        return None
    ours = links.ours(info.link, "vxlan")
    if ours is None and info.protocol != ROUTE_PROTOCOL:
        return None
    link = links.by_index.get(info.link)
    name = ours or (link.name if link else "")
    return Route(info.dst, info.via, name, onlink=info.onlink, protocol=info.protocol)


def _neighbour(info: NeighbourInfo, links: Links) -> KernelObject | None:
    name = links.ours(info.link, "vxlan")
    if name is None or info.address is None or not info.state & NUD_PERMANENT:
        return None
    if info.family == AF_BRIDGE:
        return FdbEntry(name, info.mac, info.address) if info.flags & NTF_SELF else None
    if info.address.is_multicast or info.family not in {family.af for family in Family}:
        return None
    return Neighbour(name, info.address, info.mac)
