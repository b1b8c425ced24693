"""Packets in words: one line, and what a router says of one that was too large. Pure."""

from collections.abc import Iterator
from socket import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP

from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.packet import NoPayload, Packet

from agent.ctl.trace.datagram import (
    NAMES,
    Datagram,
    ports_of,
    quoted_in,
    read,
)
from agent.printable import printable

_LAYERS: dict[int, type[Packet]] = {IPPROTO_UDP: UDP, IPPROTO_TCP: TCP, IPPROTO_ICMP: ICMP}


def told(datagram: Datagram) -> str:
    source, target = datagram.source, datagram.target
    if ports := () if datagram.later else ports_of(datagram):
        source, target = (
            f"[{end}]:{port}" if ":" in end else f"{end}:{port}"
            for end, port in zip((source, target), ports, strict=True)
        )
    what = " ".join(_what(datagram))
    if datagram.fragment and not datagram.later:
        what += " (first fragment)"
    return printable(f"{source} > {target} {what}, {datagram.length} bytes")


def _what(datagram: Datagram) -> Iterator[str]:
    if datagram.later:
        yield f"{NAMES.get(datagram.number, datagram.number)} fragment"
        return
    if datagram.number == IPPROTO_ICMPV6:
        layer: Packet = datagram.layer.payload
        name = "ICMPv6" if isinstance(layer, NoPayload) else str(layer.name)
        yield name
        if hasattr(layer, "seq") and "cho" in name:
            yield f"id {layer.id} seq {layer.seq}"
        return
    kind = _LAYERS.get(datagram.number)
    found = None if kind is None else read(kind, datagram.payload)
    if found is None:
        yield f"protocol {datagram.number}"
    elif datagram.number == IPPROTO_UDP:
        yield "UDP"
    elif datagram.number == IPPROTO_TCP:
        yield f"TCP {found.flags} seq {found.seq} ack {found.ack}"
    else:
        yield f"ICMP {found.sprintf('%ICMP.type%')}"
        if found.type in (0, 8):
            yield f"id {found.id} seq {found.seq}"


def too_large(datagram: Datagram) -> str:
    """What a router says, if this is its word that something did not fit."""
    if datagram.number == IPPROTO_ICMP and datagram.payload[:2] == b"\x03\x04":
        mtu = int.from_bytes(datagram.payload[6:8], "big")
    elif datagram.number == IPPROTO_ICMPV6 and isinstance(
        datagram.layer.payload, ICMPv6PacketTooBig
    ):
        mtu = int(datagram.layer.payload.mtu)
    else:
        return ""
    quoted = quoted_in(datagram)
    to = f" towards {quoted.target}" if quoted else ""
    return f"{datagram.source} says that {mtu} bytes fit{to}, this one did not"
