"""What the kernel hands to us of an underlay's packets: classic BPF (linux/filter.h), put together here. Pure.

Accepted: VXLAN packets whose inner source or destination is one of the pod's addresses, packets that go between
nodes without a tunnel with such an address, and the routers' word that something was too large. Of a fragmented
packet only the first fragment says whose it is. ``X`` holds the length of the outer IP header.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from overlay.errors import BadInput
from overlay.model import Address, Family

WHOLE = 0xFFFF
"""Accepted, with so many bytes."""
MOST_ADDRESSES = 4
_LDB, _LDH, _LDW = 0x30, 0x28, 0x20
_LDB_X, _LDH_X, _LDW_X = 0x50, 0x48, 0x40
_LDX_HEADER, _LDX = 0xB1, 0x01
_JA, _JEQ, _JSET, _RET = 0x05, 0x15, 0x45, 0x06
_INSTRUCTION = struct.Struct("=HBBI")
"""struct sock_filter: code, jt, jf, k."""
_IPV4, _IPV6 = 0x0800, 0x86DD
_UDP, _ICMP, _ICMP6 = 17, 1, 58
_ETHERNET, _INNER_TYPE, _INNER = 14, 42, 44
"""Offsets; the last two are to be added to X: past Ethernet, the outer IP header, UDP, VXLAN, and inner Ethernet."""
_WHERE = {Family.V4: (12, 16), Family.V6: (8, 24)}
"""Of source and destination in an IP header."""


@dataclass(frozen=True, slots=True)
class _Line:
    code: int
    k: int = 0
    yes: str = ""
    no: str = ""


@dataclass(frozen=True, slots=True)
class _Label:
    name: str


_Item = _Line | _Label


def underlay(port: int, addresses: Sequence[Address]) -> bytes:
    """The program, as struct sock_filter[]; pods have one address of a family, of more the first few are looked at."""
    some = list(addresses)[:MOST_ADDRESSES]
    lines = [
        _Line(_LDH, 12),
        _Line(_JEQ, _IPV4, no="is6"),
        *_outer4(port),
        *_match(some, Family.V4, _ETHERNET, "plain4", indirect=False),
        _Label("is6"),
        _Line(_JEQ, _IPV6, no="drop"),
        *_outer6(port),
        *_match(some, Family.V6, _ETHERNET, "plain6", indirect=False),
        _Label("inner"),
        _Line(_LDH_X, _INNER_TYPE),
        _Line(_JEQ, _IPV4, no="inner is6"),
        *_match(some, Family.V4, _INNER, "inner4", indirect=True),
        _Label("inner is6"),
        _Line(_JEQ, _IPV6, no="drop"),
        *_match(some, Family.V6, _INNER, "inner6", indirect=True),
        _Label("drop"),
        _Line(_RET, 0),
    ]
    return _assembled(lines)


def _outer4(port: int) -> Iterator[_Item]:
    yield _Line(_LDH, 20)
    yield _Line(_JSET, 0x1FFF, yes="plain4")  # a later fragment: no ports in it
    yield _Line(_LDX_HEADER, _ETHERNET)
    yield _Line(_LDB, 23)
    yield _Line(_JEQ, _UDP, no="icmp4")
    yield _Line(_LDH_X, _ETHERNET + 2)
    yield _Line(_JEQ, port, no="plain4")
    yield _Line(_JA, yes="inner")
    yield _Label("icmp4")
    yield _Line(_JEQ, _ICMP, no="plain4")
    yield _Line(_LDH_X, _ETHERNET)
    yield _Line(_JEQ, 0x0304, no="plain4")  # unreachable: fragmentation needed
    yield _Line(_RET, WHOLE)


def _outer6(port: int) -> Iterator[_Item]:
    yield _Line(_LDX, 40)
    yield _Line(_LDB, 20)
    yield _Line(_JEQ, _UDP, no="icmp6")
    yield _Line(_LDH_X, _ETHERNET + 2)
    yield _Line(_JEQ, port, no="plain6")
    yield _Line(_JA, yes="inner")
    yield _Label("icmp6")
    yield _Line(_JEQ, _ICMP6, no="plain6")
    yield _Line(_LDB_X, _ETHERNET)
    yield _Line(_JEQ, 2, no="plain6")  # packet too big
    yield _Line(_RET, WHOLE)


def _match(
    addresses: Sequence[Address], family: Family, at: int, name: str, *, indirect: bool
) -> Iterator[_Item]:
    """Accept if source or destination is one of ours, else drop. ``at`` is where the IP header begins."""
    yield _Label(name)
    load = _LDW_X if indirect else _LDW
    for number, address in enumerate(it for it in addresses if Family.of(it) is family):
        for side in _WHERE[family]:
            other = f"{name} not {number} {side}"
            for place in range(0, len(address.packed), 4):
                yield _Line(load, at + side + place)
                word = int.from_bytes(address.packed[place : place + 4], "big")
                yield _Line(_JEQ, word, no=other)
            yield _Line(_RET, WHOLE)
            yield _Label(other)
    yield _Line(_RET, 0)


def _assembled(items: Sequence[_Item]) -> bytes:
    places: dict[str, int] = {}
    lines: list[_Line] = []
    for item in items:
        if isinstance(item, _Label):
            places[item.name] = len(lines)
        else:
            lines.append(item)
    return b"".join(_packed(line, place, places) for place, line in enumerate(lines))


def _packed(line: _Line, place: int, places: dict[str, int]) -> bytes:
    yes, no = (places[name] - place - 1 if name else 0 for name in (line.yes, line.no))
    if line.code == _JA:
        return _INSTRUCTION.pack(line.code, 0, 0, yes)
    if not 0 <= yes <= 255 or not 0 <= no <= 255:
        raise BadInput(f"a packet filter for that many addresses jumps {max(yes, no)} instructions")
    return _INSTRUCTION.pack(line.code, yes, no, line.k)
