"""An IP packet taken apart by scapy, as far as the questions of overlayctl trace need. Pure."""

import contextlib
import struct
from collections.abc import Hashable
from dataclasses import dataclass
from socket import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

NAMES = {IPPROTO_UDP: "udp", IPPROTO_TCP: "tcp", IPPROTO_ICMP: "icmp", IPPROTO_ICMPV6: "icmp"}
LEAST_CUT = 576
"""Bytes that every link must carry (RFC 791): nobody cuts less."""
_DIGESTED = 32
"""Bytes of a payload that help to know a packet again."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One packet. ``payload`` is that of IP, extension headers included; ``later``: not the first fragment;
    ``divisible``: routers may cut it.
    """

    layer: Packet
    source: str
    target: str
    number: int
    payload: bytes
    length: int
    fragment: bool = False
    later: bool = False
    divisible: bool = False
    identity: int = 0


def read(layer: type[Packet], data: bytes) -> Packet | None:
    """None for bytes that scapy cannot make sense of: packets are other people's."""
    with contextlib.suppress(Exception):
        found: Packet = layer(data)
        return found
    return None


def datagram_of(layer: Packet) -> Datagram | None:
    """What is behind an Ethernet header, if that is an IP packet."""
    if isinstance(layer, IP):
        raw = bytes(layer.original)
        header = int(layer.ihl or 0) * 4
        offset = int(layer.frag or 0)
        more = bool(int(layer.flags or 0) & 1)
        return Datagram(
            layer,
            str(layer.src),
            str(layer.dst),
            int(layer.proto),
            raw[header : int(layer.len or 0) or len(raw)],
            int(layer.len or len(raw)),
            fragment=more or bool(offset),
            later=bool(offset),
            divisible=not int(layer.flags or 0) & 2,
            identity=int(layer.id or 0) << 16 | offset,
        )
    if isinstance(layer, IPv6):
        raw = bytes(layer.original)
        return Datagram(
            layer,
            str(layer.src),
            str(layer.dst),
            int(layer.nh),
            raw[40 : 40 + (int(layer.plen or 0) or len(raw))],
            40 + int(layer.plen or 0),
            fragment=int(layer.nh) == 44,
            later=int(layer.nh) == 44,
        )
    return None


def ports_of(datagram: Datagram) -> tuple[int, ...]:
    if datagram.number not in (IPPROTO_UDP, IPPROTO_TCP) or len(datagram.payload) < 4:
        return ()
    ports: tuple[int, ...] = struct.unpack_from("!HH", datagram.payload)
    return ports


def key_of(datagram: Datagram) -> Hashable:
    """All that is the same before and after routers and tunnels, and differs between packets."""
    head = datagram.payload[:8]
    if not datagram.later and datagram.number == IPPROTO_UDP:
        head = datagram.payload[:6] + datagram.payload[8 : 8 + _DIGESTED]  # its checksum comes late
    elif not datagram.later and datagram.number == IPPROTO_TCP:
        head = datagram.payload[:14] + datagram.length.to_bytes(4, "big")
    elif datagram.number in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        head = datagram.payload[: 8 + _DIGESTED]
    return (datagram.source, datagram.target, datagram.number, datagram.identity, head)


def span_of(datagram: Datagram) -> tuple[Hashable, tuple[int, int]]:
    """What may be cut or joined on its way, and which of its bytes these are: a TCP connection, a fragmented packet."""
    payload = datagram.payload
    if datagram.number == IPPROTO_TCP and not datagram.fragment and len(payload) >= 20:
        sport, dport, begin, _, offset = struct.unpack_from("!HHIIB", payload)
        count = len(payload) - (offset >> 4) * 4
        ends = (datagram.source, sport, datagram.target, dport)
        return (ends, (begin, begin + count)) if count > 0 else (None, (0, 0))
    if datagram.fragment or (datagram.divisible and datagram.length > LEAST_CUT):
        one = (datagram.source, datagram.target, datagram.number, datagram.identity >> 16)
        begin = (datagram.identity & 0xFFFF) * 8
        return (one, (begin, begin + len(payload)))
    return None, (0, 0)


def quoted_in(datagram: Datagram) -> Datagram | None:
    """The beginning of the packet that an ICMP message is about."""
    raw = datagram.payload[8:]
    kind = IPv6 if raw[:1] and raw[0] >> 4 == 6 else IP
    found = read(kind, raw)
    return None if found is None else datagram_of(found)
