"""What overlayctl trace reads from packets: what is inside, what is around, and what is wrong."""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror, fragment
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import ARP

from agent.ctl.trace import decode
from agent.ctl.trace.sightings import Point, Way
from tests.agent.podpackets import (
    KNOWN,
    NODE,
    OTHER,
    OTHER_SIX,
    PEER,
    POD,
    PORT,
    SIX,
    ether,
    frame,
    inside,
    outside,
    ping,
    wrapped,
)

SIX_PING = IPv6(src=SIX, dst=OTHER_SIX) / ICMPv6ND_NS()


def test_the_same_packet_has_the_same_key_inside_and_outside() -> None:
    """Though a router has counted down its TTL and a device has filled in its checksum; another one has another."""
    for packet in (
        ping(),
        IP(src=POD, dst=OTHER, id=3) / UDP(sport=1, dport=2) / b"hello",
        IP(src=POD, dst=OTHER, id=3) / TCP(sport=1, dport=2, seq=5) / b"hello",
        IPv6(src=SIX, dst=OTHER_SIX) / UDP(sport=1, dport=2) / b"hello",
    ):
        later = packet.copy()
        later.setfieldval("ttl" if IP in packet else "hlim", 3)
        if UDP in later:
            later[UDP].chksum = 0x1234
        one, two = inside(packet), outside(wrapped(later))
        assert (one.key, one.way, one.point) == (two.key, Way.OUT, Point.POD)
        assert two.point is Point.TUNNEL
    assert inside(ping(seq=1)).key != inside(ping(seq=2)).key


def test_a_line_has_what_is_inside_and_what_is_around() -> None:
    """Addresses, protocol, VNI, the other node."""
    found = outside(wrapped(ping()))

    assert found.inner == f"{POD} > {OTHER} ICMP echo-request id 7 seq 1, 84 bytes"
    assert found.outer == f"VNI 1, {NODE}:5000 > {PEER}:8472, 134 bytes"
    assert (found.vni, found.far, found.remarks) == (1, PEER, ())
    tcp = inside(IPv6(src=SIX, dst=OTHER_SIX) / TCP(sport=9, dport=80, seq=5, flags="S"))
    assert tcp.inner == f"[{SIX}]:9 > [{OTHER_SIX}]:80 TCP S seq 5 ack 0, 60 bytes"
    arp = inside(ARP(op=1, psrc=POD, pdst="10.5.1.1"))
    assert (arp.inner, arp.local) == (f"ARP who has 10.5.1.1, tell {POD}", True)
    assert inside(SIX_PING).local


def test_what_did_not_fit_is_said_with_the_number_that_does() -> None:
    """To the pod, about the tunnel's packets, as fragments, and for IPv6."""
    quoted = IPerror(src=NODE, dst=PEER) / UDPerror(sport=5000, dport=PORT)
    router = IP(src="192.168.50.254", dst=NODE) / ICMP(type=3, code=4, nexthopmtu=1400) / quoted
    word = outside(ether() / router, out=False)
    assert word.point is Point.WORD
    assert word.remarks == (
        f"MTU: 192.168.50.254 says that 1400 bytes fit towards {PEER}, this one did not",
    )
    own = (
        IP(src="10.5.1.1", dst=POD)
        / ICMP(type=3, code=4, nexthopmtu=1450)
        / IPerror(src=POD, dst=OTHER)
    )
    assert "1450 bytes fit" in inside(own, out=False).remarks[0]
    six = (
        IPv6(src="fd00:5:1::1", dst=SIX)
        / ICMPv6PacketTooBig(mtu=1280)
        / IPv6(src=SIX, dst=OTHER_SIX)
    )
    assert "1280 bytes fit" in inside(six, out=False).remarks[0]
    first = fragment(wrapped(ping(size=1400))[IP], fragsize=1200)[0]  # type: ignore[no-untyped-call]
    assert "in fragments" in outside(ether() / first).remarks[0]
    elsewhere = (
        IP(src="192.168.50.254", dst=NODE) / ICMP(type=3, code=4) / IPerror(src=NODE, dst="1.2.3.4")
    )
    assert decode.on_the_underlay(frame(ether() / elsewhere, out=False), KNOWN) is None


def test_wrong_checksums_are_told_once_they_can_be_known() -> None:
    """Not while a device has yet to compute them; of every layer that has one."""
    broken = IP(src=POD, dst=OTHER) / UDP(sport=1, dport=2, chksum=0x1234) / b"hello"
    assert outside(wrapped(broken)).remarks == ("UDP checksum is wrong",)
    pending = frame(wrapped(broken), out=True, unsummed=True)
    found = decode.on_the_underlay(pending, KNOWN)
    assert found is not None
    assert found.remarks == ()
    assert inside(IP(src=POD, dst=OTHER, chksum=1) / ICMP()).remarks == ("IP checksum is wrong",)
    for right in (ping(), IPv6(src=SIX, dst=OTHER_SIX) / TCP(), IP(src=POD, dst=OTHER) / TCP()):
        assert inside(right).remarks == ()


def test_other_networks_and_other_sources_are_remarked() -> None:
    """A VNI that is not ours; a source to which no answer would find its way."""
    assert outside(wrapped(ping(), vni=7)).remarks == ("VNI 7 is not ours",)
    assert inside(ping("172.17.0.2")).remarks == ("its source 172.17.0.2 is not the pod's address",)
    assert decode.on_the_underlay(frame(wrapped(ping("10.5.1.9")), out=True), KNOWN) is None
