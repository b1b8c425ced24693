"""Asking the kernel for a packet's way as it decides it, all tables and policy rules included. Pure bytes.

An answer to `way_ask` is parsed by `parse.parse_route`: table, next hop and type are those of the route that was
taken. A packet that arrives (``iif``) is asked for as such: forwarding, rp_filter and rules for that interface count.
"""

import struct
import sys
from dataclasses import dataclass
from ipaddress import ip_network

from overlay.errors import BadInput
from overlay.model import Address, Family, Subnet
from overlay.netlink import constants as c
from overlay.netlink.attributes import (
    attribute,
    message,
    number32,
    unpack_address,
    unpack_attributes,
    unpack_number,
    unpack_text,
)

RTM_GETRULE = 34
RTA_SRC, RTA_IIF, RTM_F_LOOKUP_TABLE = 2, 3, 0x1000
"""linux/rtnetlink.h."""
FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_TABLE = 1, 2, 3, 6, 15
FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN = 10, 14
FRA_TUN_ID, FRA_OIFNAME, FRA_L3MDEV, FRA_UID_RANGE, FRA_IP_PROTO, FRA_SPORT, FRA_DPORT = (
    *(12, 17, 19),
    *(20, 22, 23, 24),
)
_NARROW = {FRA_TUN_ID, FRA_OIFNAME, FRA_UID_RANGE, FRA_IP_PROTO, FRA_SPORT, FRA_DPORT}
FR_ACT_TO_TBL, FIB_RULE_INVERT = 1, 2
ACTIONS = {6: "blackhole", 7: "unreachable", 8: "prohibit"}
"""linux/fib_rules.h: what a rule does but look into a table."""
_RT = struct.Struct("=BBBBBBBBI")
_RULE = struct.Struct("=BBBBBBBBI")
"""struct fib_rule_hdr: family, dst length, src length, tos, table, two reserved, action, flags."""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One row of `ip rule`. ``action`` is empty where it looks into ``table``.

    ``suppressed``: routes of the table with a prefix of that length or shorter do not count. ``narrow``: it is for
    some packets only, by what is not said here (a user, a port, a VRF). ``inverted``: for all but those that are named.
    """

    priority: int
    table: int
    action: str
    dst: Subnet | None
    src: Subnet | None
    iif: str
    mark: int = 0
    suppressed: int = -1
    narrow: bool = False
    inverted: bool = False
    deleted: bool = False


def way_ask(destination: Address, *, source: Address | None = None, iif: int = 0) -> bytes:
    """Which way would a packet go? From here, or (``iif`` and ``source``) arriving by an interface."""
    family = Family.of(destination)
    bits = family.bits if source is not None else 0
    flags = (
        RTM_F_LOOKUP_TABLE if family is Family.V4 else 0
    )  # IPv6 names the table anyway, and refuses the flag
    head = _RT.pack(family.af, family.bits, bits, 0, 0, 0, 0, 0, flags)
    parts = [attribute(c.RTA_DST, destination.packed)]
    if source is not None:
        parts.append(attribute(RTA_SRC, source.packed))
    if iif:
        parts.append(number32(RTA_IIF, iif))
    return message(c.RTM_GETROUTE, 0, head, *parts)


def rule_dump(family: Family) -> bytes:
    """Ask for the policy rules of a family."""
    return message(RTM_GETRULE, c.NLM_F_DUMP, _RULE.pack(family.af, 0, 0, 0, 0, 0, 0, 0, 0))


def parse_rule(body: bytes, deleted: bool = False) -> PolicyRule:
    """An RTM_NEWRULE or RTM_DELRULE.

    Raises:
        BadInput: bytes that do not add up.
    """
    if len(body) < _RULE.size:
        raise BadInput(f"a policy rule has {len(body)} bytes, its fixed part needs {_RULE.size}")
    _family, dst_len, src_len, tos, table, _r1, _r2, action, flags = _RULE.unpack_from(body)
    found = unpack_attributes(body, _RULE.size)
    return PolicyRule(
        priority=unpack_number(found[FRA_PRIORITY]) if FRA_PRIORITY in found else 0,
        table=unpack_number(found[FRA_TABLE]) if FRA_TABLE in found else table,
        action="" if action == FR_ACT_TO_TBL else ACTIONS.get(action, f"action {action}"),
        dst=_net(found.get(FRA_DST), dst_len),
        src=_net(found.get(FRA_SRC), src_len),
        iif=unpack_text(found.get(FRA_IIFNAME, b"")),
        mark=unpack_number(found[FRA_FWMARK]) if FRA_FWMARK in found else 0,
        suppressed=_length(found.get(FRA_SUPPRESS_PREFIXLEN)),
        narrow=bool(tos or found.keys() & _NARROW or any(found.get(FRA_L3MDEV, b""))),
        inverted=bool(flags & FIB_RULE_INVERT),
        deleted=deleted,
    )


def _length(packed: bytes | None) -> int:
    """An s32: -1 for none."""
    return int.from_bytes(packed, sys.byteorder, signed=True) if packed else -1


def _net(packed: bytes | None, length: int) -> Subnet | None:
    if not packed:
        return None
    try:
        return ip_network((unpack_address(packed), length), strict=False)
    except ValueError as error:
        raise BadInput(f"the kernel sent a rule for a prefix of length {length}") from error
