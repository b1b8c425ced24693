"""Requests about routes. Pure bytes.

There are thousands at a start, and one differs from the last in two addresses: what stands before and between them
is made once and kept.
"""

import struct
from functools import lru_cache

from overlay.model import ROUTE_PROTOCOL, Address, Family, Subnet
from overlay.netlink.attributes import attribute, message, number32
from overlay.netlink.constants import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
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
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTN_UNSPEC,
    RTNH_F_ONLINK,
)

_RT = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type, flags."""
_LENGTH = struct.Struct("=I")
"""What struct nlmsghdr begins with."""
_UPSERT = NLM_F_CREATE | NLM_F_REPLACE
_Frame = tuple[bytes, bytes]
"""What stands before the destination, and between it and the gateway, which ends the message."""
_How = tuple[int, bool, int, int]
"""The link, whether the gateway is taken to be on it, the protocol, and the scope."""


def route_add(
    dst: Subnet,
    *,
    link: int,
    via: Address | None = None,
    onlink: bool = False,
    protocol: int = ROUTE_PROTOCOL,
    source: Address | None = None,
    metric: int = 0,
    scope: int = RT_SCOPE_UNIVERSE,
) -> bytes:
    """Add a unicast route to the main table; the kernel says EEXIST if one to ``dst`` is there with that metric."""
    flags = NLM_F_CREATE | NLM_F_EXCL
    route = _route(RTM_NEWROUTE, flags, dst, via, (link, onlink, protocol, scope))
    return _beside(route, source, metric)


def route_append(
    dst: Subnet,
    *,
    link: int,
    via: Address | None = None,
    protocol: int = ROUTE_PROTOCOL,
    source: Address | None = None,
    metric: int = 0,
) -> bytes:
    """Add a route behind those to ``dst`` that are there; EEXIST only for the very same one."""
    flags = NLM_F_CREATE | NLM_F_APPEND
    how = (link, False, protocol, RT_SCOPE_UNIVERSE)
    return _beside(_route(RTM_NEWROUTE, flags, dst, via, how), source, metric)


def route_replace(
    dst: Subnet,
    *,
    link: int,
    via: Address | None = None,
    onlink: bool = False,
    protocol: int = ROUTE_PROTOCOL,
    source: Address | None = None,
    metric: int = 0,
    scope: int = RT_SCOPE_UNIVERSE,
) -> bytes:
    """Add a route or rewrite the one to the same ``dst``, whoever's it is: look first."""
    route = _route(RTM_NEWROUTE, _UPSERT, dst, via, (link, onlink, protocol, scope))
    return _beside(route, source, metric)


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
    """Delete a route; ESRCH unless its protocol is that, and what else is given is the route's. Without a ``link``
    it may lead nowhere, too.
    """
    how = (link, onlink, protocol, RT_SCOPE_NOWHERE)
    return _beside(_route(RTM_DELROUTE, 0, dst, via, how), source, metric)


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


def _route(kind: int, flags: int, dst: Subnet, via: Address | None, how: _How) -> bytes:
    gateway = b"" if via is None else via.packed
    before, between = _route_frame((kind, flags), dst.version, dst.prefixlen, len(gateway), how)
    target = dst.network_address.packed if dst.prefixlen else b""
    return b"".join((before, target, between, gateway))


@lru_cache(maxsize=1024)
def _route_frame(
    what: tuple[int, int], version: int, length: int, gateway: int, how: _How
) -> _Frame:
    """``what`` is type and flags, ``length`` the prefix's, ``gateway`` the bytes of its address, 0 for none."""
    kind, flags = what
    (link, onlink, protocol, scope), family = how, Family(version)
    if scope == RT_SCOPE_UNIVERSE and not gateway and family is Family.V4:
        scope = RT_SCOPE_LINK  # reaches neighbours only; IPv6 has no such notion
    nexthop_flags = RTNH_F_ONLINK if onlink else 0
    sort = RTN_UNICAST if link else RTN_UNSPEC
    head = _RT.pack(family.af, length, 0, 0, RT_TABLE_MAIN, protocol, scope, sort, nexthop_flags)
    target = attribute(RTA_DST, bytes(family.bits // 8)) if length else b""
    via = attribute(RTA_GATEWAY, bytes(gateway)) if gateway else b""
    whole = message(kind, flags, head, number32(RTA_OIF, link), target, via)
    second = len(whole) - len(via)
    first = second - (family.bits // 8 if length else 0)
    return whole[:first], whole[second : len(whole) - gateway]


def _beside(route: bytes, source: Address | None, metric: int) -> bytes:
    """The same with what hardly any of our routes states."""
    more = attribute(RTA_PREFSRC, source.packed) if source is not None else b""
    more += number32(RTA_PRIORITY, metric) if metric else b""
    return _LENGTH.pack(len(route) + len(more)) + route[_LENGTH.size :] + more if more else route
