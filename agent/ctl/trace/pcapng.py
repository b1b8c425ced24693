"""A capture file as tcpdump, wireshark and scapy read it: pcapng (draft-ietf-opsawg-pcapng). Pure bytes.

It says of each packet on which interface it was seen and which way it went, so that one file holds the inside and the
outside of a tunnel.
"""

import struct
from collections.abc import Sequence

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC, _VERSION = 0x1A2B3C4D, (1, 0)
_NO_LENGTH = (1 << 64) - 1
_ETHERNET = 1
_END, _NAME, _RESOLUTION, _FLAGS = 0, 2, 9, 2
_NANOSECONDS = 9
_IN, _OUT = 1, 2


def header(links: Sequence[str]) -> bytes:
    """The section, and one description for each interface; packets name them by their place."""
    section = _block(_SECTION, struct.pack("=IHHQ", _MAGIC, *_VERSION, _NO_LENGTH))
    return section + b"".join(_interface(link) for link in links)


def packet(place: int, at: int, data: bytes, *, outgoing: bool, length: int = 0) -> bytes:
    """One packet, seen at ``at`` nanoseconds since 1970; ``length`` is that on the wire."""
    whole = max(length, len(data))
    head = struct.pack("=IIIII", place, at >> 32, at & 0xFFFFFFFF, len(data), whole)
    flags = _option(_FLAGS, struct.pack("=I", _OUT if outgoing else _IN)) + _option(_END, b"")
    return _block(_PACKET, head + _padded(data) + flags)


def _interface(link: str) -> bytes:
    options = _option(_NAME, link.encode()) + _option(_RESOLUTION, bytes([_NANOSECONDS]))
    return _block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + options + _option(_END, b""))


def _option(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", kind, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", 12 + len(body))
    return struct.pack("=I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
