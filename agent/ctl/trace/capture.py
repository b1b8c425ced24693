"""Packet sockets: what passes an interface, with the kernel's time, direction and word on checksums (packet(7)).

A socket hears nothing until its filter is attached, and what it has heard waits in a buffer of bounded size: packets
beyond that are lost and counted.
"""

import contextlib
import errno
import socket
import struct
import time
from dataclasses import dataclass

from overlay.errors import BadConfig, KernelRefused
from overlay.netlink import socketfilter

ETH_P_ALL = 0x0003
BUFFER = 16 << 20
LARGEST = 1 << 16
MOST_AT_ONCE = 512
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
"""asm-generic/socket.h"""
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA = 263, 6, 8
"""linux/if_packet.h"""
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("@ll")
_CSUM_NOT_READY = 1 << 3
_OUTGOING = 4
_GONE = (errno.ENETDOWN, errno.ENODEV, errno.ENXIO)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``at`` is in nanoseconds since 1970; ``unsummed``: its checksum is yet to be computed."""

    at: int
    link: str
    outgoing: bool
    data: bytes
    unsummed: bool = False
    length: int = 0


class Ear:
    """Hears one interface from its beginning on; close it after use."""

    def __init__(self, link: str, program: bytes = b"") -> None:
        self.link = link
        self._index = 0
        self.behind: int | None = None
        """The time of the last frame that was taken, while more may be waiting behind it."""
        self._lost = 0
        self._ended = False
        self._socket = _listening(link, program)
        with contextlib.suppress(OSError):
            self._index = socket.if_nametoindex(link)

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def hear(self) -> list[Frame]:
        """What has come, without waiting."""
        frames: list[Frame] = []
        while len(frames) < MOST_AT_ONCE:
            try:
                data, words, _, where = self._socket.recvmsg(LARGEST, 256)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                self._ended = True
                continue  # the link is down, or gone: what came before is still to be had
            frames.append(_frame(self.link, data, words, where))
        self.behind = frames[-1].at if len(frames) == MOST_AT_ONCE else None
        return frames

    @property
    def lost(self) -> int:
        """How many there was no room for."""
        with contextlib.suppress(OSError):
            raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self._lost += struct.unpack("=II", raw)[1]  # reading sets it to 0
        return self._lost

    @property
    def gone(self) -> bool:
        """Whether there is no such interface any more."""
        if self._ended:
            with contextlib.suppress(OSError):
                self._ended = socket.if_nametoindex(self.link) != self._index
        return self._ended

    def close(self) -> None:
        """Again is harmless."""
        self._socket.close()


def _listening(link: str, program: bytes) -> socket.socket:
    try:
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except PermissionError as error:
        raise BadConfig("packets can be captured by root only (CAP_NET_RAW)") from error
    try:
        with contextlib.suppress(OSError):  # else it has the default buffer
            found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
        found.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        found.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        if program:
            socketfilter.attach(found, program)
        found.bind((link, ETH_P_ALL))
        found.setblocking(False)
    except OSError as error:
        found.close()
        raise KernelRefused(
            f"{link} cannot be listened to: {error.strerror}",
            errno=error.errno or errno.EIO,
            hint=f"ip link show {link}",
        ) from error
    return found


def _frame(
    link: str, data: bytes, words: list[tuple[int, int, bytes]], where: tuple[object, ...]
) -> Frame:
    at, unsummed, length = 0, False, len(data)
    for level, kind, raw in words:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack_from(raw)
            at = seconds * 1_000_000_000 + nanoseconds
        elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, length = _AUXDATA.unpack_from(raw)[:2]
            unsummed = bool(status & _CSUM_NOT_READY)
    outgoing = where[2] == _OUTGOING
    return Frame(at or time.time_ns(), link, outgoing, data, unsummed, length)
