"""Requests about addresses, neighbours and FDB entries; re-exports routes and links. Pure bytes.

Links are named by index here: the caller has looked the name up. Of a peer's three messages all is the same as in
the last peer's but two values: what stands before, between and behind them is made once and kept (`_Frame`).
"""

import struct
from functools import lru_cache

from overlay.model import Address, Family, HostAddress
from overlay.netlink.attributes import attribute, message, number32, pack_mac
from overlay.netlink.constants import (
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    NTF_SELF,
    NUD_PERMANENT,
    RTM_DELADDR,
    RTM_DELNEIGH,
    RTM_GETADDR,
    RTM_GETNEIGH,
    RTM_NEWADDR,
    RTM_NEWNEIGH,
    RTN_UNICAST,
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
from overlay.netlink.route_messages import (
    route_add,
    route_append,
    route_delete,
    route_dump,
    route_get,
    route_replace,
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
    "route_append",
    "route_delete",
    "route_dump",
    "route_get",
    "route_replace",
]

_IFADDR = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, link index."""
_ND = struct.Struct("=B3xiHBB")
"""struct ndmsg: family, link index, state, flags, type."""
_AF_BRIDGE = 7
_UPSERT = NLM_F_CREATE | NLM_F_REPLACE
_MAC, _MAC_PADDING = bytes(6), bytes(2)
_Frame = tuple[bytes, bytes]
"""What stands before a message's first value and what between it and the second, which ends the message."""


def address_add(link: int, address: HostAddress) -> bytes:
    """Put an address on a link, or leave it if it is there. No broadcast address.

    IPv6 skips duplicate address detection: our own allocator gave it, and it is usable at once.
    """
    flags = IFA_F_NODAD if Family.of(address) is Family.V6 else 0
    return message(RTM_NEWADDR, _UPSERT, _address(link, address, flags))


def address_delete(link: int, address: HostAddress, peer: Address | None = None) -> bytes:
    """Take an address off a link; one with a peer is found by that alone."""
    return message(RTM_DELADDR, 0, _address(link, address, 0, peer))


def address_dump(family: Family, *, link: int = 0) -> bytes:
    """Ask for a family's addresses, of one link or (0) of all."""
    return message(RTM_GETADDR, NLM_F_DUMP, _IFADDR.pack(family.af, 0, 0, 0, link))


def neighbour_replace(link: int, address: Address, mac: str) -> bytes:
    """Set a PERMANENT neighbour: this address has this MAC, never ask."""
    packed = address.packed
    before, between = _neighbour_frame(address.version, link)
    return b"".join((before, packed, between, pack_mac(mac), _MAC_PADDING))


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
    before, between = _fdb_frame(dst.version, link)
    return b"".join((before, pack_mac(mac), between, dst.packed))


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


def _address(link: int, address: HostAddress, flags: int, peer: Address | None = None) -> bytes:
    packed = address.ip.packed
    head = _IFADDR.pack(Family.of(address).af, address.network.prefixlen, flags, 0, link)
    return head + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, (peer or address.ip).packed)


@lru_cache(maxsize=64)
def _neighbour_frame(version: int, link: int) -> _Frame:
    family = Family(version)
    address, mac = bytes(family.bits // 8), attribute(NDA_LLADDR, _MAC)
    head = _neighbour(family.af, link)
    whole = message(RTM_NEWNEIGH, _UPSERT, head, attribute(NDA_DST, address), mac)
    second = len(whole) - len(mac)
    return whole[: second - len(address)], mac[: -len(_MAC + _MAC_PADDING)]


@lru_cache(maxsize=64)
def _fdb_frame(version: int, link: int) -> _Frame:
    mac, dst = attribute(NDA_LLADDR, _MAC), attribute(NDA_DST, bytes(Family(version).bits // 8))
    head = _neighbour(_AF_BRIDGE, link, flags=NTF_SELF)
    whole = message(RTM_NEWNEIGH, _UPSERT, head, mac, dst)
    second = len(whole) - len(dst)
    first = second - len(_MAC + _MAC_PADDING)
    return whole[:first], _MAC_PADDING + dst[:4]


def _neighbour(family: int, link: int, *, flags: int = 0) -> bytes:
    return _ND.pack(family, link, NUD_PERMANENT, flags, RTN_UNICAST)


def _neighbour_dump(family: int, link: int) -> bytes:
    parts = number32(NDA_IFINDEX, link) if link else b""
    return message(RTM_GETNEIGH, NLM_F_DUMP, _ND.pack(family, 0, 0, 0, 0), parts)
