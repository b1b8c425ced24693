"""Frames into sightings, by scapy: what is in the packet, what is around it, and what is wrong with it. Pure.

Importing scapy takes half a second and more: whoever imports this module says so first.
"""

import contextlib
from dataclasses import replace
from ipaddress import ip_address
from socket import (
    IPPROTO_HOPOPTS,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IGMP,
    IPPROTO_TCP,
    IPPROTO_UDP,
)

from scapy.layers.inet import IP, in4_chksum
from scapy.layers.inet6 import in6_chksum
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet
from scapy.utils import checksum

from agent.ctl.trace.capture import Frame
from agent.ctl.trace.datagram import (
    NAMES,
    Datagram,
    datagram_of,
    key_of,
    ports_of,
    quoted_in,
    read,
    span_of,
)
from agent.ctl.trace.sightings import Known, Point, Sight, Way
from agent.ctl.trace.words import told, too_large
from agent.printable import printable

_NEIGHBOURS, _CHATTER = frozenset({135, 136, 137}), frozenset({130, 131, 132, 133, 134, 143})
"""Types of ICMPv6: solicitation, advertisement, redirect; multicast listeners, routers."""


def on_the_veth(frame: Frame, known: Known) -> Sight | None:
    """A frame of the pod's own link."""
    way = Way.IN if frame.outgoing else Way.OUT
    ether = read(Ether, frame.data)
    if ether is None:
        return None
    if ARP in ether:
        return _arp(frame, ether[ARP], way)
    datagram = datagram_of(ether.payload)
    if datagram is None or _is_chatter(datagram):
        return None
    sight = _sight(frame, Point.POD, way, datagram)
    astray = _astray(datagram, known) if way is Way.OUT else []
    return replace(sight, remarks=(*astray, *_wrong(datagram, frame), *sight.remarks))


def on_the_underlay(frame: Frame, known: Known) -> Sight | None:
    """A frame of the underlay: None if nothing of the pod is in it."""
    ether = read(Ether, frame.data)
    outer = None if ether is None else datagram_of(ether.payload)
    if outer is None:
        return None
    way = Way.OUT if frame.outgoing else Way.IN
    if outer.number == IPPROTO_UDP and not outer.later and ports_of(outer)[1:] == (known.port,):
        return _tunnelled(frame, outer, way, known)
    if word := too_large(outer):
        return _word(frame, outer, word, known)
    if not _concerns(outer, known):
        return None
    sight = _sight(frame, Point.DIRECT, way, outer)
    return replace(sight, remarks=(*_wrong(outer, frame), *sight.remarks))


def _tunnelled(frame: Frame, outer: Datagram, way: Way, known: Known) -> Sight | None:
    vxlan = read(VXLAN, outer.payload[8:])
    inside = None if vxlan is None else vxlan.getlayer(Ether)
    datagram = None if inside is None else datagram_of(inside.payload)
    if vxlan is None or datagram is None or not _concerns(datagram, known):
        return None
    sight = _sight(frame, Point.TUNNEL, way, datagram)
    vni = int(vxlan.vni or 0)
    remarks = list(sight.remarks)
    if outer.fragment:
        remarks.insert(0, "MTU: the tunnel's packet goes in fragments: the underlay is too narrow")
    if known.vnis and vni not in known.vnis:
        remarks.append(f"VNI {vni} is not ours")
    remarks += _wrong(outer, frame, what="outer ") + _wrong(datagram, frame)
    sport, dport = ports_of(outer)
    text = f"VNI {vni}, {outer.source}:{sport} > {outer.target}:{dport}, {outer.length} bytes"
    far = outer.target if way is Way.OUT else outer.source
    return replace(sight, outer=text, vni=vni, far=far, remarks=tuple(dict.fromkeys(remarks)))


def _word(frame: Frame, outer: Datagram, word: str, known: Known) -> Sight | None:
    """Some router says that a packet did not fit: of our tunnel, or of the pod itself."""
    quoted = quoted_in(outer)
    if quoted is None:
        return None
    ports = ports_of(quoted)
    if not _concerns(quoted, known) and not (
        quoted.number == IPPROTO_UDP and ports[1:] == (known.port,)
    ):
        return None
    way = Way.OUT if frame.outgoing else Way.IN
    sight = _sight(frame, Point.WORD, way, outer)
    return replace(sight, far=quoted.target, remarks=(f"MTU: {word}",))


def _sight(frame: Frame, point: Point, way: Way, datagram: Datagram) -> Sight:
    flow, span = span_of(datagram)
    word = too_large(datagram)
    return Sight(
        at=frame.at,
        point=point,
        way=way,
        source=datagram.source,
        target=datagram.target,
        protocol=_protocol(datagram),
        length=datagram.length,
        inner=told(datagram),
        key=key_of(datagram),
        ports=() if datagram.later else ports_of(datagram),
        flow=flow,
        span=span,
        remarks=(f"MTU: {word}",) if word else (),
    )


def _protocol(datagram: Datagram) -> str:
    finds = datagram.number == IPPROTO_ICMPV6 and _first(datagram) in _NEIGHBOURS
    return "nd" if finds else NAMES.get(datagram.number, f"protocol {datagram.number}")


def _is_chatter(datagram: Datagram) -> bool:
    """What every host tells its link now and then: who listens to which group, is there a router."""
    if datagram.number in (
        IPPROTO_HOPOPTS,
        IPPROTO_IGMP,
    ):  # the former before an IPv6 listener's report
        return True
    return datagram.number == IPPROTO_ICMPV6 and _first(datagram) in _CHATTER


def _first(datagram: Datagram) -> int:
    return datagram.payload[0] if datagram.payload else -1


def _arp(frame: Frame, arp: Packet, way: Way) -> Sight:
    asks = arp.op == 1
    told = f"who has {arp.pdst}, tell {arp.psrc}" if asks else f"{arp.psrc} is at {arp.hwsrc}"
    source, target = printable(str(arp.psrc)), printable(str(arp.pdst))
    key = ("arp", frame.at)  # never leaves the node: nothing to compare it with
    text = printable(f"ARP {told}")
    return Sight(frame.at, Point.POD, way, source, target, "arp", len(frame.data) - 14, text, key)


def _concerns(datagram: Datagram, known: Known) -> bool:
    with contextlib.suppress(ValueError):
        ends = {ip_address(datagram.source), ip_address(datagram.target)}
        return bool(ends & known.addresses)
    return False


def _astray(datagram: Datagram, known: Known) -> list[str]:
    """A source that is not the pod's, to which nobody's answer would find its way."""
    source = ip_address(datagram.source)
    if source in known.addresses or source.is_link_local or source.is_unspecified:
        return []
    return [f"its source {source} is not the pod's address"]


def _wrong(datagram: Datagram, frame: Frame, *, what: str = "") -> list[str]:
    """Checksums that are wrong, as far as that can be told: not while a device has yet to compute them."""
    layer, found = datagram.layer, []
    if isinstance(layer, IP) and checksum(bytes(layer.original)[: int(layer.ihl or 5) * 4]):
        found.append(f"{what}IP checksum is wrong")
    whole = not datagram.fragment and datagram.length <= len(bytes(layer.original))
    if frame.unsummed or not whole or _sum_of(datagram) in (0, None):
        return found
    return [*found, f"{what}{NAMES[datagram.number].upper()} checksum is wrong"]


def _sum_of(datagram: Datagram) -> int | None:
    """0 if the checksum of what is in an IP packet is right, None where there is none to be looked at."""
    number, payload, layer = datagram.number, datagram.payload, datagram.layer
    if number == IPPROTO_UDP and payload[6:8] == b"\0\0":  # allowed, and usual around VXLAN
        return None
    if isinstance(layer, IP):
        if number == IPPROTO_ICMP:
            return int(checksum(payload))
        return (
            int(in4_chksum(number, layer, payload))
            if number in (IPPROTO_UDP, IPPROTO_TCP)
            else None
        )
    if number not in NAMES:
        return None
    return int(in6_chksum(number, layer, payload))  # type: ignore[no-untyped-call]
