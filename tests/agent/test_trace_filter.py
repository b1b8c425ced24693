"""What the kernel hands over of an underlay, by the filter of overlayctl trace; and that no bytes break it."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import ARP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from agent.ctl.trace import decode, filters
from agent.ctl.trace.capture import Frame
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
    ping,
    wrapped,
)


def _accepts(program: bytes, data: bytes) -> bool:
    """An interpreter of the few instructions that are used (Documentation/networking/filter.rst)."""
    lines = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    a = x = at = 0
    while True:
        code, yes, no, k = lines[at]
        at += 1
        if code == 0x06:
            return bool(k)
        if code == 0x05:
            at += k
        elif code == 0x15:
            at += yes if a == k else no
        elif code == 0x45:
            at += yes if a & k else no
        elif code == 0x01:
            x = k
        elif code == 0xB1:
            x = (data[k] & 15) * 4 if k < len(data) else -1
        else:
            size = {0x00: 4, 0x08: 2, 0x10: 1}[code & 0x18]
            place = k + (x if code & 0x40 else 0)
            if place + size > len(data):
                return False  # as the kernel does
            a = int.from_bytes(data[place : place + size], "big")


PROGRAM = filters.underlay(PORT, [ip_address(POD), ip_address(SIX)])
SIX_PING = IPv6(src=SIX, dst=OTHER_SIX) / ICMPv6ND_NS()


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        (wrapped(ping()), True),
        (wrapped(ping(OTHER, POD)), True),
        (wrapped(SIX_PING), True),
        (wrapped(IPv6(src=OTHER_SIX, dst=SIX) / TCP()), True),
        (wrapped(ping("10.5.1.9", OTHER)), False),
        (wrapped(ping(), port=4789), False),
        (wrapped(IPv6(src="fd00:5:1::9", dst=OTHER_SIX) / TCP()), False),
        (
            ether()
            / IPv6(src="fd50::1", dst="fd50::2")
            / UDP(dport=PORT)
            / VXLAN()
            / ether()
            / ping(),
            True,
        ),
        (
            ether()
            / IPv6(src="fd50::1", dst="fd50::2")
            / UDP(dport=PORT)
            / VXLAN()
            / ether()
            / ping("1.2.3.4"),
            False,
        ),
        (ether() / ping(), True),  # a direct route
        (ether() / IPv6(src=OTHER_SIX, dst=SIX) / TCP(), True),
        (ether() / ping(NODE, PEER), False),
        (
            ether()
            / IP(src=NODE, dst=PEER, options=b"\x01" * 4)
            / UDP(dport=PORT)
            / VXLAN()
            / ether()
            / ping(),
            True,
        ),
        (ether() / IP(src="192.168.50.254", dst=NODE) / ICMP(type=3, code=4), True),
        (ether() / IP(src="192.168.50.254", dst=NODE) / ICMP(type=3, code=1), False),
        (ether() / IPv6(src="fd50::fe", dst="fd50::1") / ICMPv6PacketTooBig(mtu=1400), True),
        (ether() / ARP(), False),
        (ether(), False),
    ],
)
def test_the_kernel_hands_over_what_concerns_the_pod(packet: Packet, wanted: bool) -> None:
    """Both families inside and outside, direct routes, routers' words; nothing of other pods."""
    assert _accepts(PROGRAM, bytes(packet)) is wanted


@given(st.binary(max_size=120))
def test_no_bytes_make_the_filter_or_the_decoder_fail(data: bytes) -> None:
    """Packets are other people's: the filter ends, the decoder has nothing to say or something that can be printed."""
    _accepts(PROGRAM, data)
    for unwrap in (decode.on_the_veth, decode.on_the_underlay):
        for raw in (
            data,
            bytes(wrapped(ping()))[:50] + data,
            bytes(ether() / ping())[:34] + data,
        ):
            found = unwrap(Frame(1, "eth0", True, raw), KNOWN)
            assert found is None or found.inner.isprintable()


def test_a_filter_for_many_addresses_is_still_one() -> None:
    """Jumps of a filter reach 255 instructions; beyond the first few addresses nothing is asked of it."""
    many = [ip_address(f"fd00:5:1::{number}") for number in range(2, 40)]
    assert _accepts(
        filters.underlay(PORT, many), bytes(wrapped(IPv6(src="fd00:5:1::3", dst=SIX) / TCP()))
    )
