"""Kernel records → model objects, and which of them are ours (the mark table in overlay.model). Pure."""

import itertools
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from overlay.keys import fdb_key, neighbour_key, route_key
from overlay.marks import ONLY, Marks, owner_of
from overlay.model import (
    RTPROT_KERNEL,
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
from overlay.netlink.constants import RT_TABLE_MAIN, RTN_UNICAST
from overlay.netlink.parse import Record
from overlay.netlink.route_extras import NO_WAY

AF_BRIDGE = 7
NUD_STALE, NUD_PERMANENT = 0x04, 0x80
AGED = "(stale)"
NTF_SELF = 0x02
"""linux/neighbour.h."""
V6_KERNELS_METRIC, V6_USERS_METRIC = 256, 1024
"""IP6_RT_PRIO_ADDRCONF, IP6_RT_PRIO_USER of net/ip6_route.h."""
LOOPBACK = "lo"
"""By which IPv6 has what leads nowhere; IPv4's has no device."""
UNSPECIFIED = IPv4Address(0)
"""Stands for "none" or "not to be expressed": never what anybody wants, so it is mended."""


@dataclass(frozen=True, slots=True)
class Links:
    """The host's links at one moment. ``wanted`` are those that ought to be there, by name; ``marks`` are ours."""

    by_index: dict[int, LinkInfo]
    by_name: dict[str, LinkInfo]
    wanted: dict[str, Vxlan | Bridge]
    marks: Marks = ONLY

    @staticmethod
    def of(
        links: Iterable[LinkInfo], wanted: Mapping[str, Vxlan | Bridge], marks: Marks = ONLY
    ) -> "Links":
        """Index them."""
        found = tuple(links)
        by_index, by_name = (
            {link.index: link for link in found},
            {link.name: link for link in found},
        )
        return Links(by_index, by_name, dict(wanted), marks)

    def ours(self, index: int, kind: str) -> str | None:
        """The name of our link of a kind at this index, or None if it is not ours.

        One without our mark counts if it is what we want under that name: it is about to be adopted,
        and what is on it (flannel's routes) is to be taken over, not fought. With another agent's mark never.
        """
        link = self.by_index.get(index)
        if link is None or link.kind != kind:
            return None
        return link.name if self.marks.are_on(link.alias) or self._fits(link) else None

    def _fits(self, link: LinkInfo) -> bool:
        wanted = self.wanted.get(link.name)
        if self.marks.are_of_another(link.alias):
            return False
        if isinstance(wanted, Vxlan):
            present = _vxlan(link, self)
            return present is not None and present.fixed == wanted.fixed
        return isinstance(wanted, Bridge) and link.kind == "bridge"


def usual_metric(version: int, protocol: int) -> int:
    """Of a route that names none."""
    if version == Family.V4.value:
        return 0
    return V6_KERNELS_METRIC if protocol == RTPROT_KERNEL else V6_USERS_METRIC


def marked(link: LinkInfo) -> bool:
    """True if the alias says that this is the VTEP or bridge of an agent, ours or another."""
    return owner_of(link.alias) is not None


def convert(record: Record, links: Links, *, unmarked: bool = False) -> KernelObject | None:
    """The object a record stands for, or None if it is not ours.

    A link that fits but has no mark is not ours yet: leaving it out makes the plan adopt it.
    ``unmarked`` asks for it all the same.
    """
    match record:
        case LinkInfo():
            known = unmarked or links.marks.are_on(record.alias)
            return _link(record, links) if known else None
        case AddressInfo():
            return _address(record, links)
        case RouteInfo():
            return _route(record, links)
        case NeighbourInfo():
            return _neighbour(record, links)
        case _:  # a policy rule: we have none
            return None


def same(
    item: KernelObject, want: Mapping[Hashable, KernelObject]
) -> tuple[Hashable, KernelObject]:
    """Key and value; what is as wanted is the wanted object itself, so that thousands are not held twice."""
    key = item.key
    wanted = want.get(key)
    return key, wanted if wanted is not None and wanted == item else item


def beside(
    item: KernelObject,
    found: dict[Hashable, KernelObject],
    want: Mapping[Hashable, KernelObject],
) -> None:
    """Enter a further route to one subnet with one metric as an object of its own; what is as wanted keeps its place.

    The kernel lists first the one that it uses.
    """
    key = item.key
    first = found[key]
    if not isinstance(item, Route) or not isinstance(first, Route):
        return
    if item == want.get(key):
        item, found[key] = first, item
    others = (replace(item, nth=nth) for nth in itertools.count(1))
    other = next(it for it in others if it.key not in found)
    found[other.key] = other


def concerned(record: Record, links: Links) -> Hashable | None:
    """The key of the object that an event may be about though `convert` knows none: nothing of ours is left of it.

    A route of another program in the place of ours, a neighbour on its way out, a link without our mark.
    """
    match record:
        case LinkInfo():
            return ("link", record.name)
        case RouteInfo() if record.table == RT_TABLE_MAIN:
            return route_key(record.dst)
        case NeighbourInfo():
            name = links.ours(record.link, "vxlan")
            if name and record.family == AF_BRIDGE:
                return fdb_key(name, record.mac, record.address)
            return neighbour_key(name, record.address) if name and record.address else None
    return None


def _link(link: LinkInfo, links: Links) -> KernelObject | None:
    if link.kind == "bridge":
        return Bridge(link.name, link.mac, link.mtu, link.up, link.arp)
    return _vxlan(link, links)


def _vxlan(link: LinkInfo, links: Links) -> Vxlan | None:
    if link.vxlan is None:
        return None
    lower = links.by_index.get(link.vxlan.lower)
    return Vxlan(
        name=link.name,
        mac=link.mac,
        mtu=link.mtu,
        vni=link.vxlan.vni,
        port=link.vxlan.port,
        local=link.vxlan.local or UNSPECIFIED,
        underlay=lower.name if lower else "",
        learning=link.vxlan.learning,
        gbp=link.vxlan.gbp,
        up=link.up,
        odd=_odd(link, links),
        arp=link.arp,
    )


def _odd(link: LinkInfo, links: Links) -> str:
    """What was done to a tunnel device that no device of ours or flannel's has."""
    master = links.by_index.get(link.master)
    words = [f"a place in {master.name}"] if master else []
    words += ["protodown"] if link.held_down else []
    words += [link.vxlan.odd] if link.vxlan and link.vxlan.odd else []
    return ", ".join(words)


def _address(info: AddressInfo, links: Links) -> KernelObject | None:
    name = links.ours(info.link, "bridge") or links.ours(info.link, "vxlan")
    return LinkAddress(name, info.address, info.peer) if name else None


def _route(info: RouteInfo, links: Links) -> KernelObject | None:
    nowhere = NO_WAY.get(info.kind, "")
    if not (info.kind == RTN_UNICAST or nowhere) or info.table != RT_TABLE_MAIN:
        return None
    if info.tos or info.of_some:  # it serves such packets alone, and stands beside ours
        return None
    own = info.protocol == RTPROT_KERNEL
    ours = links.ours(info.link, "bridge" if own else "vxlan")
    if ours is None and (own or info.protocol != links.marks.route_protocol):
        return None
    link = links.by_index.get(info.link)
    name = LOOPBACK if nowhere else ours or (link.name if link else "")
    metric = info.metric
    if metric and metric == usual_metric(info.dst.version, info.protocol):
        metric = 0
    return Route(
        info.dst,
        info.via,
        name,
        onlink=info.onlink,
        protocol=info.protocol,
        source=info.source,
        odd=nowhere or info.extras,
        metric=metric,
    )


def _neighbour(info: NeighbourInfo, links: Links) -> KernelObject | None:
    name = links.ours(info.link, "vxlan")
    if name is None:
        return None
    permanent = bool(info.state & NUD_PERMANENT)
    if info.family == AF_BRIDGE:
        # one that leads to a next hop object has no address
        if not info.flags & NTF_SELF or (info.address is None and info.plain):
            return None
        underlay = info.address if info.address and info.plain else UNSPECIFIED
        return FdbEntry(name, info.mac, underlay) if permanent or not info.address else None
    if info.address is None or not info.state & (NUD_PERMANENT | NUD_STALE):
        return None
    if info.address.is_multicast or info.family not in {family.af for family in Family}:
        return None
    # Not permanent: the kernel would ask for it, in vain, so it is never what anybody wants.
    return Neighbour(name, info.address, info.mac if permanent else f"{info.mac} {AGED}")
