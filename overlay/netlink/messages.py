"""Requests about addresses, routes, neighbours and FDB entries; re-exports links. Pure bytes.

Links are named by index here: the caller has looked the name up.
"""

import struct

from overlay.model import ROUTE_PROTOCOL, Address, Family, HostAddress, Subnet
from overlay.netlink.attributes import attribute, message, number32, pack_mac
from overlay.netlink.constants import (
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NTF_SELF,
    NUD_PERMANENT,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_DELADDR,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTNH_F_ONLINK,
)
from overlay.netlink.link_messages import (
    group_delete,
    link_bridge,
    link_delete,
    link_dump,
    link_get,
    link_set,
    link_veth,
    link_vxlan,
)

__all__ = [
    "address_add",
    "address_delete",
    "address_dump",
    "fdb_delete",
    "fdb_dump",
    "fdb_replace",
    "group_delete",
    "link_bridge",
    "link_delete",
    "link_dump",
    "link_get",
    "link_set",
    "link_veth",
    "link_vxlan",
    "neighbour_delete",
    "neighbour_dump",
    "neighbour_replace",
    "route_add",
    "route_delete",
    "route_dump",
    "route_get",
    "route_replace",
]

_IFADDR = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, link index."""
_RT = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type, flags."""
_ND = struct.Struct("=B3xiHBB")
"""struct ndmsg: family, link index, state, flags, type."""
_AF_BRIDGE = 7
_UPSERT = NLM_F_CREATE | NLM_F_REPLACE


def address_add(link: int, address: HostAddress) -> bytes:
    """Put an address on a link, or leave it if it is there. No broadcast address.

    IPv6 skips duplicate address detection: our own allocator gave it, and it is usable at once.
    """
    flags = IFA_F_NODAD if Family.of(address) is Family.V6 else 0
    return message(RTM_NEWADDR, _UPSERT, _address(link, address, flags))


def address_delete(link: int, address: HostAddress) -> bytes:
    """Take an address off a link."""
    return message(RTM_DELADDR, 0, _address(link, address, 0))


def address_dump(family: Family, *, link: int = 0) -> bytes:
    """Ask for a family's addresses, of one link or (0) of all."""
    return message(RTM_GETADDR, NLM_F_DUMP, _IFADDR.pack(family.af, 0, 0, 0, link))


def route_add(
    dst: Subnet,
    *,
    link: int,
    via: Address | None = None,
    onlink: bool = False,
    protocol: int = ROUTE_PROTOCOL,
    source: Address | None = None,
    metric: int = 0,
) -> bytes:
    """Add a unicast route to the main table; the kernel says EEXIST if one to ``dst`` is there with that metric."""
    flags = NLM_F_CREATE | NLM_F_EXCL
    body = _route(dst, link, via, onlink=onlink, protocol=protocol)
    return message(RTM_NEWROUTE, flags, body, _beside(source, metric))


def route_append(
    dst: Subnet, *, link: int, via: Address | None = None, protocol: int = ROUTE_PROTOCOL
) -> bytes:
    """Add a route behind those to ``dst`` that are there; EEXIST only for the very same one."""
    flags = NLM_F_CREATE | NLM_F_APPEND
    body = _route(dst, link, via, onlink=False, protocol=protocol)
    return message(RTM_NEWROUTE, flags, body)


def route_replace(
    dst: Subnet,
    *,
    link: int,
    via: Address | None = None,
    onlink: bool = False,
    protocol: int = ROUTE_PROTOCOL,
    source: Address | None = None,
    metric: int = 0,
) -> bytes:
    """Add a route or rewrite the one to the same ``dst``, whoever's it is: look first."""
    body = _route(dst, link, via, onlink=onlink, protocol=protocol)
    return message(RTM_NEWROUTE, _UPSERT, body, _beside(source, metric))


def route_delete(
    dst: Subnet,
    *,
    link: int = 0,
    via: Address | None = None,
    onlink: bool = False,
    protocol: int = ROUTE_PROTOCOL,
    source: Address | None = None,
    metric: int = 0,
) -> bytes:
    """Delete a route; ESRCH unless its protocol is that, and what else is given is the route's."""
    body = _route(dst, link, via, onlink=onlink, protocol=protocol, scope=RT_SCOPE_NOWHERE)
    return message(RTM_DELROUTE, 0, body, _beside(source, metric))


def route_dump(
    family: Family, *, protocol: int = 0, link: int = 0, table: int = RT_TABLE_MAIN
) -> bytes:
    """Ask for routes, filtered by the kernel (0: not filtered)."""
    short = table if table < 256 else 0  # the attribute has it
    head = _RT.pack(family.af, 0, 0, 0, short, protocol, 0, 0, 0)
    filters = number32(RTA_TABLE, table) if table else b""
    if link:
        filters += number32(RTA_OIF, link)
    return message(RTM_GETROUTE, NLM_F_DUMP, head, filters)


def route_get(destination: Address) -> bytes:
    """Ask which way a packet to ``destination`` would go."""
    family = Family.of(destination)
    head = _RT.pack(family.af, family.bits, 0, 0, 0, 0, 0, 0, 0)
    return message(RTM_GETROUTE, 0, head, attribute(RTA_DST, destination.packed))


def neighbour_replace(link: int, address: Address, mac: str) -> bytes:
    """Set a PERMANENT neighbour: this address has this MAC, never ask."""
    parts = attribute(NDA_DST, address.packed) + attribute(NDA_LLADDR, pack_mac(mac))
    return message(RTM_NEWNEIGH, _UPSERT, _neighbour(Family.of(address).af, link), parts)


def neighbour_delete(link: int, address: Address) -> bytes:
    """Delete a neighbour."""
    return message(
        RTM_DELNEIGH, 0, _neighbour(Family.of(address).af, link), attribute(NDA_DST, address.packed)
    )


def neighbour_dump(family: Family, *, link: int = 0) -> bytes:
    """Ask for a family's neighbours, of one link or (0) of all."""
    return _neighbour_dump(family.af, link)


def fdb_replace(link: int, mac: str, dst: Address) -> bytes:
    """Set a PERMANENT FDB entry of a VXLAN device: this inner MAC is behind this address."""
    parts = attribute(NDA_LLADDR, pack_mac(mac)) + attribute(NDA_DST, dst.packed)
    return message(RTM_NEWNEIGH, _UPSERT, _neighbour(_AF_BRIDGE, link, flags=NTF_SELF), parts)


def fdb_delete(link: int, mac: str, dst: Address | None = None) -> bytes:
    """Delete an FDB entry. With a ``dst`` that is not the entry's the kernel deletes nothing and
    says nothing; without one the entry goes whatever it points at.
    """
    parts = attribute(NDA_LLADDR, pack_mac(mac))
    if dst is not None:
        parts += attribute(NDA_DST, dst.packed)
    return message(RTM_DELNEIGH, 0, _neighbour(_AF_BRIDGE, link, flags=NTF_SELF), parts)


def fdb_dump(*, link: int = 0) -> bytes:
    """Ask for the FDB of one link or (0) of all."""
    return _neighbour_dump(_AF_BRIDGE, link)


def _address(link: int, address: HostAddress, flags: int) -> bytes:
    packed = address.ip.packed
    head = _IFADDR.pack(Family.of(address).af, address.network.prefixlen, flags, 0, link)
    return head + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)


def _route(
    dst: Subnet,
    link: int,
    via: Address | None,
    *,
    onlink: bool,
    protocol: int,
    scope: int | None = None,
) -> bytes:
    family = Family.of(dst)
    if scope is None:  # a route without a gateway reaches neighbours only; IPv6 has no such notion
        direct = via is None and family is Family.V4
        scope = RT_SCOPE_LINK if direct else RT_SCOPE_UNIVERSE
    nexthop_flags = RTNH_F_ONLINK if onlink else 0
    head = _RT.pack(
        family.af, dst.prefixlen, 0, 0, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, nexthop_flags
    )
    parts = [head, number32(RTA_OIF, link)]
    if dst.prefixlen:
        parts.append(attribute(RTA_DST, dst.network_address.packed))
    if via is not None:
        parts.append(attribute(RTA_GATEWAY, via.packed))
    return b"".join(parts)


def _beside(source: Address | None, metric: int) -> bytes:
    """What hardly any of our routes states."""
    parts = attribute(RTA_PREFSRC, source.packed) if source is not None else b""
    return parts + number32(RTA_PRIORITY, metric) if metric else parts


def _neighbour(family: int, link: int, *, flags: int = 0) -> bytes:
    return _ND.pack(family, link, NUD_PERMANENT, flags, RTN_UNICAST)


def _neighbour_dump(family: int, link: int) -> bytes:
    parts = number32(NDA_IFINDEX, link) if link else b""
    return message(RTM_GETNEIGH, NLM_F_DUMP, _ND.pack(family, 0, 0, 0, 0), parts)
