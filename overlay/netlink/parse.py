"""What the kernel answers, as frozen records. Pure; bytes that do not add up are a BadInput."""

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from overlay.errors import BadInput
from overlay.model import Address, Family, HostAddress, Subnet
from overlay.netlink import constants as c
from overlay.netlink import vxlan_info
from overlay.netlink.attributes import (
    HEADER,
    unpack_address,
    unpack_attributes,
    unpack_mac,
    unpack_number,
    unpack_text,
)
from overlay.netlink.policy import PolicyRule, parse_rule
from overlay.netlink.route_extras import extras, has_end
from overlay.netlink.vxlan_info import VxlanInfo

AF_BRIDGE = 7
_V4, _V6 = Family.V4.af, Family.V6.af
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RT = struct.Struct("=BBBBBBBBI")
_ND = struct.Struct("=B3xiHBB")
_NEXTHOP = struct.Struct("=HBBi")
_ERROR = struct.Struct("=iI")
_ELSEWHERE = frozenset((c.RTA_MULTIPATH, c.RTA_VIA, c.RTA_ENCAP_TYPE))
_EXTRAS = _ELSEWHERE | {c.RTA_METRICS, c.RTA_NH_ID}


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link. ``master`` is the index of its bridge or 0, ``peer`` of a veth's other end.

    ``peer_namespace`` is our number of the namespace that the other end lies in, -1 for our own. ``held_down``:
    without a carrier by order (protodown), up or not.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    running: bool
    alias: str
    master: int
    group: int
    peer: int
    vxlan: VxlanInfo | None
    peer_namespace: int = -1
    deleted: bool = False
    arp: bool = True
    held_down: bool = False


@dataclass(frozen=True, slots=True)
class AddressInfo:
    """An address on a link. ``scope`` is 0 for global, 253 for link-local. With a ``peer`` the subnet is that one's."""

    link: int
    address: HostAddress
    scope: int
    flags: int
    deleted: bool = False
    peer: Address | None = None


@dataclass(frozen=True, slots=True)
class RouteInfo:
    """A route. ``link`` and ``via`` are the first next hop's; ``plain``: it is the only one, and ``via`` tells all.

    ``extras`` is what it states beside, in words; ``of_some``: it serves packets of some sources only (IPv6).
    """

    dst: Subnet
    via: Address | None
    link: int
    table: int
    protocol: int
    kind: int
    metric: int
    onlink: bool
    source: Address | None
    deleted: bool = False
    plain: bool = True
    tos: int = 0
    extras: str = ""
    of_some: bool = False


@dataclass(frozen=True, slots=True)
class NeighbourInfo:
    """A neighbour, or with family AF_BRIDGE an FDB entry (``address`` is then the underlay's).

    ``plain`` is False for an FDB entry with a UDP port, VNI, interface or next hop object of its own.
    """

    family: int
    link: int
    address: Address | None
    mac: str
    state: int
    flags: int
    plain: bool
    deleted: bool = False


Record = LinkInfo | AddressInfo | RouteInfo | NeighbourInfo | PolicyRule


def error_of(payload: bytes, flags: int) -> tuple[int, str]:
    """(positive errno or 0, the kernel's own words or "") of an NLMSG_ERROR or NLMSG_DONE."""
    if len(payload) < 4:
        raise BadInput(f"a netlink acknowledgement has {len(payload)} bytes, at least 4 are due")
    code = int(struct.unpack_from("=i", payload)[0])
    if not flags & c.NLM_F_ACK_TLVS or len(payload) < _ERROR.size:
        return -code, ""
    _, echoed = _ERROR.unpack_from(payload)
    # after the errno comes our message's header, and the rest of it unless the answer is capped
    size = HEADER.size if flags & c.NLM_F_CAPPED else max(echoed, HEADER.size)
    words = unpack_attributes(payload, 4 + ((size + 3) & ~3)).get(c.NLMSGERR_ATTR_MSG, b"")
    return -code, unpack_text(words)


def parse(kind: int, payload: bytes) -> Record | None:
    """Any message as its record, or None for a type that we do not follow."""
    parser = _PARSERS.get(kind)
    return parser(payload, kind in _DELETIONS) if parser else None


def parse_link(payload: bytes, deleted: bool = False) -> LinkInfo:
    """An RTM_NEWLINK or RTM_DELLINK."""
    _family, _type, index, flags, _change = _head(_IFINFO, payload)
    found = unpack_attributes(payload, _IFINFO.size)
    info = unpack_attributes(found.get(c.IFLA_LINKINFO, b""), 0)
    kind = unpack_text(info.get(c.IFLA_INFO_KIND, b""))
    data = unpack_attributes(info.get(c.IFLA_INFO_DATA, b""), 0) if kind == "vxlan" else {}
    return LinkInfo(
        index=index,
        name=unpack_text(found.get(c.IFLA_IFNAME, b"")),
        kind=kind,
        mac=unpack_mac(found.get(c.IFLA_ADDRESS, b"")),
        mtu=_number(found, c.IFLA_MTU),
        up=bool(flags & c.IFF_UP),
        running=bool(flags & c.IFF_RUNNING),
        alias=unpack_text(found.get(c.IFLA_IFALIAS, b"")),
        master=_number(found, c.IFLA_MASTER),
        group=_number(found, c.IFLA_GROUP),
        peer=_number(found, c.IFLA_LINK),
        vxlan=vxlan_info.read(data) if data else None,
        peer_namespace=_signed(found.get(c.IFLA_LINK_NETNSID)),
        deleted=deleted,
        arp=not flags & c.IFF_NOARP,
        held_down=any(found.get(c.IFLA_PROTO_DOWN, b"")),
    )


def parse_address(payload: bytes, deleted: bool = False) -> AddressInfo:
    """An RTM_NEWADDR or RTM_DELADDR."""
    _family, length, flags, scope, link = _head(_IFADDR, payload)
    found = unpack_attributes(payload, _IFADDR.size)
    other = found.get(c.IFA_ADDRESS)
    packed = found.get(c.IFA_LOCAL) or other
    if packed is None:
        raise BadInput("an address message from the kernel has no address")
    peer = unpack_address(other) if other and other != packed else None
    flags = _number(found, c.IFA_FLAGS) or flags
    return AddressInfo(link, _host(unpack_address(packed), length), scope, flags, deleted, peer)


def parse_route(payload: bytes, deleted: bool = False) -> RouteInfo:
    """An RTM_NEWROUTE or RTM_DELROUTE."""
    family, length, src, tos, table, protocol, _scope, kind, flags = _head(_RT, payload)
    found = unpack_attributes(payload, _RT.size)
    link, nexthop_flags = _number(found, c.RTA_OIF), flags
    if c.RTA_MULTIPATH in found:
        link, nexthop_flags, first = _first_nexthop(found[c.RTA_MULTIPATH])
        found |= first
    gateway, source = found.get(c.RTA_GATEWAY), found.get(c.RTA_PREFSRC)
    return RouteInfo(
        dst=_subnet(family, found.get(c.RTA_DST), length),
        via=unpack_address(gateway) if gateway else None,
        link=link,
        table=_number(found, c.RTA_TABLE) or table,
        protocol=protocol,
        kind=kind,
        metric=_number(found, c.RTA_PRIORITY),
        onlink=bool(nexthop_flags & c.RTNH_F_ONLINK),
        source=unpack_address(source) if source else None,
        deleted=deleted,
        plain=_ELSEWHERE.isdisjoint(found),
        tos=tos,
        of_some=bool(src),
        extras=extras(found) if has_end(found) or not _EXTRAS.isdisjoint(found) else "",
    )


def parse_neighbour(payload: bytes, deleted: bool = False) -> NeighbourInfo:
    """An RTM_NEWNEIGH or RTM_DELNEIGH, FDB entries (family AF_BRIDGE) included."""
    family, link, state, flags, _type = _head(_ND, payload)
    found = unpack_attributes(payload, _ND.size)
    packed = found.get(c.NDA_DST)
    return NeighbourInfo(
        family=family,
        link=link,
        address=unpack_address(packed) if packed else None,
        mac=unpack_mac(found.get(c.NDA_LLADDR, b"")),
        state=state,
        flags=flags,
        plain=not found.keys() & {c.NDA_PORT, c.NDA_VNI, c.NDA_IFINDEX, c.NDA_NH_ID},
        deleted=deleted,
    )


def parse_namespace_number(payload: bytes) -> int | None:
    """An RTM_NEWNSID; None for a namespace that we have no number for."""
    number = _signed(unpack_attributes(payload, 4).get(c.NETNSA_NSID))
    return None if number < 0 else number


def _signed(value: bytes | None) -> int:
    """An s32, or -1 where there is none."""
    return int.from_bytes(value, sys.byteorder, signed=True) if value and len(value) == 4 else -1


def _head(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) < layout.size:
        raise BadInput(
            f"a netlink message has {len(payload)} bytes, its fixed part needs {layout.size}"
        )
    return layout.unpack_from(payload)


def _number(found: dict[int, bytes], kind: int) -> int:
    value = found.get(kind)
    return unpack_number(value) if value else 0


def _first_nexthop(data: bytes) -> tuple[int, int, dict[int, bytes]]:
    length, flags, _hops, link = _head(_NEXTHOP, data)
    if not _NEXTHOP.size <= length <= len(data):
        raise BadInput(f"a next hop of {length} bytes does not fit the {len(data)} bytes there are")
    return link, flags, unpack_attributes(data[:length], _NEXTHOP.size)


def _subnet(family: int, packed: bytes | None, length: int) -> Subnet:
    """An RTA_DST; without one it is the default route."""
    try:
        if family == _V4:
            return IPv4Network((packed or b"\0" * 4, length))
        return IPv6Network((packed or b"\0" * 16, length))
    except ValueError as error:
        raise BadInput(f"the kernel sent a destination of impossible length {length}") from error


def _host(address: Address, length: int) -> HostAddress:
    try:
        if isinstance(address, IPv4Address):
            return IPv4Interface((address, length))
        return IPv6Interface((address, length))
    except ValueError as error:
        raise BadInput(f"the kernel sent {address} with a prefix length of {length}") from error


_PARSERS: dict[int, Callable[[bytes, bool], Record]] = {
    **dict.fromkeys((c.RTM_NEWLINK, c.RTM_DELLINK), parse_link),
    **dict.fromkeys((c.RTM_NEWADDR, c.RTM_DELADDR), parse_address),
    **dict.fromkeys((c.RTM_NEWROUTE, c.RTM_DELROUTE), parse_route),
    **dict.fromkeys((c.RTM_NEWNEIGH, c.RTM_DELNEIGH), parse_neighbour),
    **dict.fromkeys((c.RTM_NEWRULE, c.RTM_DELRULE), parse_rule),
}
_DELETIONS = {c.RTM_DELLINK, c.RTM_DELADDR, c.RTM_DELROUTE, c.RTM_DELNEIGH, c.RTM_DELRULE}
