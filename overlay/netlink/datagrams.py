"""Many requests in one datagram: how many, how they are numbered, which is acknowledged. Pure."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from overlay.netlink.attributes import FLAGS_AT, SEQUENCE_AT
from overlay.netlink.constants import NLM_F_ACK

BATCH_MESSAGES = 512
"""The kernel may say no to each of them: 0.7 MB of answers at once, for which the socket's buffer has room."""
BATCH_BYTES = 32 * 1024
_NUMBER, _FLAGS = struct.Struct("=I"), struct.Struct("=H")


@dataclass(frozen=True, slots=True)
class Datagram:
    """Requests, the number of the last of them, and their bytes as they are sent."""

    messages: Sequence[bytes]
    last: int
    data: bytes


def parts(messages: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut into runs of at most BATCH_MESSAGES and BATCH_BYTES (one message at least)."""
    part: list[bytes] = []
    size = 0
    for message in messages:
        if part and (len(part) == BATCH_MESSAGES or size + len(message) > BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message)
    if part:
        yield part


def datagram(messages: Sequence[bytes], first: int, *, acknowledge: bool) -> Datagram:
    """The messages numbered from ``first`` on; the last of them asks to be answered, if any does."""
    data = bytearray()
    start = 0
    for number, message in enumerate(messages, first):
        start = len(data)
        data += message
        if over := len(message) % 4:
            data += bytes(4 - over)
        _NUMBER.pack_into(data, start + SEQUENCE_AT, number)
    if acknowledge:
        (flags,) = _FLAGS.unpack_from(data, start + FLAGS_AT)
        _FLAGS.pack_into(data, start + FLAGS_AT, flags | NLM_F_ACK)
    return Datagram(messages, first + len(messages) - 1, bytes(data))
