"""Packets of a pod, as they are seen inside and outside of a tunnel."""

from ipaddress import ip_address

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from agent.ctl.trace import decode
from agent.ctl.trace.capture import Frame
from agent.ctl.trace.sightings import Known, Sight

POD, OTHER, SIX, OTHER_SIX = "10.5.1.2", "10.5.2.3", "fd00:5:1::2", "fd00:5:2::3"
NODE, PEER, PORT = "192.168.50.1", "192.168.50.2", 8472
KNOWN = Known(frozenset({ip_address(POD), ip_address(SIX)}), PORT, frozenset({1}))
SECOND = 1_000_000_000


def ether() -> Packet:
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def ping(source: str = POD, target: str = OTHER, *, seq: int = 1, size: int = 56) -> Packet:
    return IP(src=source, dst=target, id=seq) / ICMP(type=8, id=7, seq=seq) / (b"x" * size)


def wrapped(inner: Packet, *, vni: int = 1, out: bool = True, port: int = PORT) -> Packet:
    source, target = (NODE, PEER) if out else (PEER, NODE)
    around = (
        IP(src=source, dst=target, id=9) / UDP(sport=5000, dport=port, chksum=0) / VXLAN(vni=vni)
    )
    return ether() / around / ether() / inner


def frame(packet: Packet, *, out: bool, at: int = SECOND, unsummed: bool = False) -> Frame:
    return Frame(at, "eth0", out, bytes(packet), unsummed)


def inside(packet: Packet, *, out: bool = True, at: int = SECOND) -> Sight:
    """Seen at the veth: what the pod sends comes in there."""
    found = decode.on_the_veth(frame(ether() / packet, out=not out, at=at), KNOWN)
    assert found is not None
    return found


def outside(packet: Packet, *, out: bool = True, at: int = SECOND) -> Sight:
    found = decode.on_the_underlay(frame(packet, out=out, at=at), KNOWN)
    assert found is not None
    return found
