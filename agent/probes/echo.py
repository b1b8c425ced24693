"""The door to raw ICMP: echo requests that may not be fragmented, and what is heard in return.

One socket per address of our own, bound to it, so that the kernel drops what is not for it and lets in only the types
we ask for. Path MTUs that the kernel remembers are not heeded (IP_PMTUDISC_PROBE): the question is what passes now.
An answer counts only if identifier, number, token and address are those of the question; see `agent.probes.engine`.
Everything is bounded: the kernel's buffers, and how much is read at a time.
"""

import errno
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterator

from agent.probes import packets
from agent.probes.packets import Heard
from overlay.errors import KernelRefused
from overlay.model import Address, Family

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3
IPV6_DONTFRAG = 62
SOL_RAW, ICMP_FILTER, ICMPV6_FILTER = 255, 1, 1
"""linux/in.h, linux/in6.h, linux/icmp.h, linux/icmpv6.h"""
BUFFER_BYTES = 1 << 20
MOST_SOCKETS = 16
MOST_AT_ONCE = 512


class Echo:
    """``counter`` numbers are the caller's. Not thread-safe."""

    def __init__(self) -> None:
        self.ident = secrets.randbits(16)
        self.token = secrets.token_bytes(packets.TOKEN_BYTES)
        self._sockets: dict[Address, socket.socket] = {}
        self._poll = select.poll()
        self._by_descriptor: dict[int, tuple[Family, socket.socket]] = {}
        self._head = bytearray(packets.HEAD_BYTES)

    def __enter__(self) -> "Echo":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """All sockets; those of another namespace or address are opened anew."""
        for sock in self._sockets.values():
            self._poll.unregister(sock)
            sock.close()
        self._sockets.clear()
        self._by_descriptor.clear()

    def listen(self, source: Address) -> None:
        """Hear what comes for an address of ours, before anything is sent from it.

        Raises:
            KernelRefused: we have no such address, or may not.
        """
        if source not in self._sockets:
            self._open(source)

    def send(self, source: Address, target: Address, *, number: int, size: int) -> None:
        """One request, as an IP packet of ``size`` bytes.

        Raises:
            KernelRefused: our own kernel does not send it; EMSGSIZE: it is larger than the device takes.
        """
        sock = self._sockets.get(source) or self._open(source)
        family = Family.of(target)
        data = packets.request(family, ident=self.ident, number=number, token=self.token, size=size)
        try:
            sock.sendto(data, (str(target), 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                return  # as good as lost on the way
            raise KernelRefused(
                f"{target}: {error.strerror}", errno=error.errno or errno.EIO
            ) from error

    def receive(self, wait_s: float) -> Iterator[tuple[Heard, float]]:
        """What has come, waiting for the first of it; each with the monotonic time at which it was read."""
        ready = self._poll.poll(max(0.0, wait_s) * 1000)
        for descriptor, _ in ready:
            family, sock = self._by_descriptor[descriptor]
            for _ in range(MOST_AT_ONCE):
                try:
                    length, sender = sock.recvfrom_into(self._head, 0, socket.MSG_TRUNC)
                except BlockingIOError:
                    break
                except OSError:  # an error that was queued for the socket, and is taken with that
                    continue
                head = bytes(self._head[:length])
                heard = (
                    packets.read_v4(head, length)
                    if family is Family.V4
                    else packets.read_v6(head, length, sender[0])
                )
                if heard is not None:
                    yield heard, time.monotonic()

    def _open(self, source: Address) -> socket.socket:
        family = Family.of(source)
        if len(self._sockets) >= MOST_SOCKETS:  # addresses of before
            self.close()
        protocol = socket.IPPROTO_ICMP if family is Family.V4 else socket.IPPROTO_ICMPV6
        try:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            sock = socket.socket(family.af, kind, protocol)
        except OSError as error:
            hint = "run it as root" if error.errno in (errno.EPERM, errno.EACCES) else ""
            raise KernelRefused(
                f"no raw ICMP socket: {error.strerror}", errno=error.errno or errno.EIO, hint=hint
            ) from error
        try:
            _set_up(sock, family)
            sock.bind((str(source), 0))
        except OSError as error:
            sock.close()
            raise KernelRefused(
                f"{source} is no address of this node: {error.strerror}",
                errno=error.errno or errno.EIO,
                hint="overlayctl status",
            ) from error
        self._sockets[source] = sock
        self._by_descriptor[sock.fileno()] = family, sock
        self._poll.register(sock, select.POLLIN)
        return sock


def _set_up(sock: socket.socket, family: Family) -> None:
    wanted = (packets.REPLY[family], packets.REQUEST[family], packets.UNREACHABLE[family])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    if family is Family.V4:
        blocked = 0xFFFFFFFF
        for kind in wanted:
            blocked &= ~(1 << kind)
        sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", blocked))
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
        return
    words = [0xFFFFFFFF] * 8
    for kind in wanted:
        words[kind >> 5] &= ~(1 << (kind & 31))
    sock.setsockopt(socket.IPPROTO_ICMPV6, ICMPV6_FILTER, struct.pack("=8I", *words))
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)


def may_probe() -> bool:
    """Raw sockets take CAP_NET_RAW."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except PermissionError:
        return False
    return True
