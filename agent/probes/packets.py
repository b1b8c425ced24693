"""Echo requests as bytes, and what comes back as values. Pure; everything that is read is hostile.

ICMP: RFC 792; ICMPv6: RFC 4443. The data begins with a mark, so that agents know each other's probes, then a token
nobody else knows and a counter; the rest is zeros, of which a checksum takes no notice.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from overlay.model import Address, Family

MARK = b"overlay?"
TOKEN_BYTES = 8
_DATA = struct.Struct("!8s8sQ")
_HEADER = struct.Struct("!BBHHH")
IP_HEADER = {Family.V4: 20, Family.V6: 40}
HEADERS = {family: size + _HEADER.size for family, size in IP_HEADER.items()}
LEAST_SIZE = {family: size + _DATA.size for family, size in HEADERS.items()}
HEAD_BYTES = 128
"""So much of a packet has to be looked at: IP, ICMP, and what an error quotes: IP, UDP."""

REQUEST = {Family.V4: 8, Family.V6: 128}
REPLY = {Family.V4: 0, Family.V6: 129}
UNREACHABLE = {Family.V4: 3, Family.V6: 1}
_CODES = {
    Family.V4: {
        0: "no route",
        1: "host unreachable",
        3: "port unreachable",
        9: "prohibited",
        10: "prohibited",
        13: "prohibited",
    },
    Family.V6: {
        0: "no route",
        1: "prohibited",
        3: "host unreachable",
        4: "port unreachable",
        5: "prohibited",
        6: "prohibited",
    },
}
UDP = 17


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: ``size`` is that of the whole IP packet."""

    source: Address
    ident: int
    number: int
    token: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Request:
    """Another agent's probe of this node."""

    source: Address


@dataclass(frozen=True, slots=True)
class Unreachable:
    """``source`` says that UDP to ``port`` of ``target`` did not arrive."""

    source: Address
    target: Address
    port: int
    why: str


Heard = Reply | Request | Unreachable


def request(family: Family, *, ident: int, number: int, token: bytes, size: int) -> bytes:
    """ICMP and data of an IP packet of ``size`` bytes; the kernel adds the rest, and ICMPv6's checksum."""
    data = _DATA.pack(MARK, token, number)
    header = _HEADER.pack(REQUEST[family], 0, 0, ident, number & 0xFFFF)
    if family is Family.V4:
        header = _HEADER.pack(REQUEST[family], 0, checksum(header + data), ident, number & 0xFFFF)
    return header + data + bytes(max(0, size - LEAST_SIZE[family]))


def checksum(data: bytes) -> int:
    """RFC 1071; of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def read_v4(packet: bytes, length: int) -> Heard | None:
    """As a raw socket gives it: with its IP header. ``length`` is the packet's own, of which this is the head."""
    if len(packet) < IP_HEADER[Family.V4] or packet[0] >> 4 != 4:
        return None
    inside = 4 * (packet[0] & 15)
    source = IPv4Address(packet[12:16])
    return _read(Family.V4, source, packet[inside:], length - inside)


def read_v6(packet: bytes, length: int, source: str) -> Heard | None:
    """As a raw socket gives it: without its IP header."""
    try:
        address = IPv6Address(source.partition("%")[0])
    except ValueError:
        return None
    return _read(Family.V6, address, packet, length)


def _read(family: Family, source: Address, body: bytes, length: int) -> Heard | None:
    if len(body) < HEADERS[family] - IP_HEADER[family]:
        return None
    kind, code, _, ident, number = _HEADER.unpack_from(body)
    if kind == UNREACHABLE[family]:
        return _unreachable(family, source, code, body[_HEADER.size :])
    if kind not in (REQUEST[family], REPLY[family]) or len(body) < _HEADER.size + _DATA.size:
        return None
    mark, token, counter = _DATA.unpack_from(body, _HEADER.size)
    if mark != MARK:
        return None
    if kind == REQUEST[family]:
        return Request(source)
    if counter & 0xFFFF != number:
        return None
    return Reply(source, ident, counter, token, IP_HEADER[family] + length)


def _unreachable(family: Family, source: Address, code: int, quoted: bytes) -> Unreachable | None:
    """What it quotes has to be one of our tunnel's packets."""
    why = _CODES[family].get(code, "")
    if family is Family.V4:
        if len(quoted) < 20 or quoted[0] >> 4 != 4:
            return None
        start, protocol = 4 * (quoted[0] & 15), quoted[9]
        target: Address = IPv4Address(quoted[16:20])
    else:
        if len(quoted) < 40:
            return None
        start, protocol, target = 40, quoted[6], IPv6Address(quoted[24:40])
    ports = quoted[start : start + 4]
    if not why or protocol != UDP or len(ports) < 4:
        return None
    return Unreachable(source, target, int.from_bytes(ports[2:], "big"), why)
