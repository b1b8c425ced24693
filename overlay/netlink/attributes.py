"""How a netlink message is laid out: header, fixed part, attributes (type, length, value, padding).

Pure. Everything is in the machine's byte order except what is named big-endian.
"""

import struct
import sys
from ipaddress import IPv4Address, IPv6Address

from overlay.errors import BadInput
from overlay.netlink.constants import NLA_F_NESTED, NLM_F_REQUEST

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port id."""
SEQUENCE_AT = 8
FLAGS_AT = 6
_ATTRIBUTE = struct.Struct("=HH")
_MAC_LEN = 6


def message(kind: int, flags: int, *parts: bytes) -> bytes:
    """One request of a type; the sequence number is left 0 for the socket to fill in."""
    body = b"".join(parts)
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def number8(kind: int, value: int) -> bytes:
    """A u8 attribute."""
    return attribute(kind, struct.pack("=B", value))


def number32(kind: int, value: int) -> bytes:
    """A u32 attribute."""
    return attribute(kind, struct.pack("=I", value))


def big_endian16(kind: int, value: int) -> bytes:
    """A u16 attribute in network byte order (UDP ports)."""
    return attribute(kind, struct.pack("!H", value))


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def pack_mac(mac: str) -> bytes:
    """``aa:bb:cc:dd:ee:ff`` as six bytes; BadInput if it is not one."""
    try:
        packed = bytes.fromhex(mac.replace(":", ""))
    except ValueError as error:
        raise BadInput(f"{mac!r} is not a MAC address; write it as aa:bb:cc:dd:ee:ff") from error
    if len(packed) != _MAC_LEN:
        raise BadInput(f"{mac!r} is not a MAC address; write it as aa:bb:cc:dd:ee:ff")
    return packed


def unpack_attributes(data: bytes, offset: int) -> dict[int, bytes]:
    """Attribute type → value from ``offset`` to the end; BadInput where lengths do not add up."""
    found: dict[int, bytes] = {}
    end = len(data)
    unpack = _ATTRIBUTE.unpack_from
    while offset + 4 <= end:
        length, kind = unpack(data, offset)
        if length < 4 or offset + length > end:
            raise BadInput(
                f"a netlink attribute of {length} bytes does not fit the {end - offset} left"
            )
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def unpack_number(value: bytes) -> int:
    """An unsigned number of 1, 2, 4 or 8 bytes in the machine's order."""
    if len(value) not in (1, 2, 4, 8):
        raise BadInput(f"a netlink number has {len(value)} bytes, not 1, 2, 4 or 8")
    return int.from_bytes(value, sys.byteorder)


def unpack_text(value: bytes) -> str:
    """A string up to its NUL; bytes that are not UTF-8 are replaced."""
    return value.split(b"\0", 1)[0].decode(errors="replace")


def unpack_mac(value: bytes) -> str:
    """Lower-case ``aa:bb:cc:dd:ee:ff``; a link without a MAC gives the empty string."""
    return value.hex(":") if len(value) == _MAC_LEN else ""


def unpack_address(value: bytes) -> IPv4Address | IPv6Address:
    """An address, whose family its length tells."""
    if len(value) == 4:
        return IPv4Address(value)
    if len(value) == 16:
        return IPv6Address(value)
    raise BadInput(f"a netlink address has {len(value)} bytes, not 4 or 16")
