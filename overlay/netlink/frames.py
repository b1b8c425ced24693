"""A datagram of netlink → its messages. Pure; bytes that do not add up are a BadInput."""

import struct
import sys
from functools import lru_cache

from overlay.errors import BadInput
from overlay.netlink.attributes import HEADER

Frame = tuple[int, int, int, bytes]


def frames(data: bytes) -> list[Frame]:
    """The messages of one datagram as (type, flags, sequence number, payload).

    In a list of thousands most datagrams hold messages of one length: such are taken apart in one go.
    """
    if (found := _equally_long(data)) is not None:
        return found
    found, offset, end = [], 0, len(data)
    while offset < end:
        if offset + HEADER.size > end:
            raise BadInput(f"a netlink datagram ends with {end - offset} stray bytes")
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > end:
            raise BadInput(
                f"a netlink message of {length} bytes does not fit the {end - offset} left"
            )
        found.append((kind, flags, sequence, data[offset + HEADER.size : offset + length]))
        offset += (length + 3) & ~3
    return found


def _equally_long(data: bytes) -> list[Frame] | None:
    """The same, if all of them are so and nothing is left; None: they have to be looked at one by one."""
    length = int.from_bytes(data[:4], sys.byteorder)
    if length < HEADER.size or length & 3 or len(data) % length:
        return None
    found = [
        (kind, flags, sequence, payload)
        for size, kind, flags, sequence, _port, payload in _message(length).iter_unpack(data)
        if size == length
    ]
    return found if len(found) * length == len(data) else None


@lru_cache(maxsize=64)
def _message(length: int) -> struct.Struct:
    return struct.Struct(f"{HEADER.format}{length - HEADER.size}s")
