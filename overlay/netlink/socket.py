"""One NETLINK_ROUTE socket: requests, dumps, batches, and which answer belongs to which request.

How a batch works: up to 512 messages in one datagram, an acknowledgement asked for the last one only.
The kernel answers a message that fails with an NLMSG_ERROR of its sequence number even so, and goes
on with the rest; reading up to the last one's acknowledgement therefore tells every message's fate.

Not thread-safe: one socket, one thread at a time. Opening one costs some 20 µs.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

from overlay.errors import BadInput, KernelBusy, KernelRefused, OverlayError
from overlay.netlink import constants as c
from overlay.netlink.attributes import HEADER
from overlay.netlink.datagrams import Datagram, datagram, parts
from overlay.netlink.frames import frames
from overlay.netlink.namespace import open_inside
from overlay.netlink.parse import error_of

RECEIVE_BUFFER = 4 * 1024 * 1024
ANSWER_WITHIN_S = 20
"""The kernel answers while we wait; this only ends a wait for an answer that was lost."""
DUMP_TRIES = 5
MOST_DRAINED = 1 << 17
_RECEIVE = 64 * 1024
"""The kernel fills dump datagrams up to 32 KiB."""
_BUSY = {errno.ENOBUFS, errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ENOMEM}
_SO_RCVBUFFORCE = 33
"""asm-generic/socket.h; needs CAP_NET_ADMIN, passes net.core.rmem_max."""
_NO_RECORD = 0x0F
"""NLMSG_MIN_TYPE - 1, linux/netlink.h: up to here types are netlink's own."""
_TYPE_AT = 4
_LOW_AT = _TYPE_AT if sys.byteorder == "little" else _TYPE_AT + 1
_GET = 2
"""rtnetlink orders its types NEW, DEL, GET, SET from 16 on: the last two bits tell."""
_NAMES = {
    getattr(c, name): name
    for name in dir(c)
    if name.startswith(("RTM_NEW", "RTM_DEL", "RTM_GET", "RTM_SET"))
}


class Transport(Protocol):
    """What is needed of a socket."""

    def send(self, data: bytes, /) -> int:
        """Send one datagram."""

    def recv(self, size: int, /) -> bytes:
        """Receive one datagram."""

    def close(self) -> None:
        """Close."""


class Netlink:
    """A context manager around one socket. ``changes`` counts the changes the kernel accepted."""

    def __init__(self, transport: Transport | None = None) -> None:
        self.changes = 0
        self._socket = transport if transport is not None else open_socket()
        self._sequence = 0

    @classmethod
    def in_namespace(cls, namespace: Path | str | int) -> Self:
        """Open a socket inside a network namespace, given its path or an open descriptor of it.

        The socket stays there; the caller's thread is back in its own namespace.
        """
        return cls(open_inside(namespace, open_socket))

    @classmethod
    def at_link(cls, namespace: Path | str | int, name: str) -> tuple[Self, int]:
        """The same, and the index of a link in there, 0 if there is none; a GETLINK costs ten times that."""
        opened, index = open_inside(namespace, lambda: (open_socket(), _index_of(name)))
        return cls(opened), index

    @property
    def port(self) -> int:
        """What events name this socket by; 0 for a transport that is no socket."""
        sock = self._socket
        return int(sock.getsockname()[0]) if isinstance(sock, socket.socket) else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; again is harmless."""
        self._socket.close()

    def request(self, message: bytes) -> None:
        """Send one request and wait for its acknowledgement; raises KernelRefused or KernelBusy."""
        self.get(message)

    def get(self, message: bytes) -> list[tuple[int, bytes]]:
        """Send one request; the (type, payload) answers that came before the acknowledgement."""
        sent = self._numbered([message])
        self._send(sent)
        answers: list[tuple[int, bytes]] = []
        for kind, flags, answered, payload in self._receive():
            if answered != sent.last:
                continue
            if kind == c.NLMSG_ERROR:
                error = _failure(message, payload, flags)
                if error is not None:
                    raise error
                self.changes += _changes([message])
                return answers
            answers.append((kind, payload))
        raise KernelBusy("the kernel's answer ended without an acknowledgement; try again")

    def dump(self, message: bytes) -> list[tuple[int, bytes]]:
        """All (type, payload) answers to a dump request; an interrupted one is asked for again."""
        for _ in range(DUMP_TRIES):
            answers = self._dump_once(message)
            if answers is not None:
                return answers
        raise KernelBusy(
            f"the kernel's list ({_name(message)}) changed while it was read, {DUMP_TRIES} times; try again"
        )

    def batch(self, messages: Iterable[bytes]) -> list[OverlayError | None]:
        """Send many; per message None or what the kernel said, in order. Failures stop nothing.

        ``messages`` is gone through a datagram at a time, before that is sent.
        """
        datagrams = map(self._numbered, parts(messages))
        return [fate for due in datagrams for fate in self._exchange(due)]

    def _dump_once(self, message: bytes) -> list[tuple[int, bytes]] | None:
        sent = self._numbered([message], acknowledge=False)
        self._send(sent)
        answers: list[tuple[int, bytes]] = []
        interrupted = False
        for data in self._datagrams():
            found = frames(data)
            listed = [  # tens of thousands at each full comparison: what is no part of the list is asked for below
                (kind, payload)
                for kind, flags, answered, payload in found
                if answered == sent.last and kind > _NO_RECORD and not flags & c.NLM_F_DUMP_INTR
            ]
            answers += listed
            if len(listed) == len(found):
                continue
            mine = [frame for frame in found if frame[2] == sent.last]
            interrupted = interrupted or any(flags & c.NLM_F_DUMP_INTR for _, flags, _, _ in mine)
            for kind, flags, _, payload in mine:
                if kind in (c.NLMSG_DONE, c.NLMSG_ERROR):
                    error = _failure(message, payload, flags)
                    if error is not None:
                        raise error
                    return None if interrupted else answers
        raise KernelBusy("the kernel's list ended without its end mark; try again")

    def _exchange(self, sent: Datagram) -> list[OverlayError | None]:
        """Send one and learn the fate of each of its messages."""
        part = sent.messages
        results: list[OverlayError | None] = [None] * len(part)
        try:
            self._send(sent)
        except KernelBusy as error:
            return [error] * len(part)
        try:
            self._collect(part, sent.last - len(part) + 1, results)
        except KernelBusy as error:  # answers were lost: the silent ones may have failed
            results = [result or error for result in results]
        done = zip(part, results, strict=True)
        self.changes += _changes(message for message, result in done if result is None)
        return results

    def _collect(
        self, part: Sequence[bytes], first: int, results: list[OverlayError | None]
    ) -> None:
        for kind, flags, answered, payload in self._receive():
            place = answered - first
            if kind == c.NLMSG_ERROR and 0 <= place < len(part):
                results[place] = _failure(part[place], payload, flags)
                if place == len(part) - 1:
                    return

    def _numbered(self, messages: Sequence[bytes], *, acknowledge: bool = True) -> Datagram:
        if self._sequence > 0xFFFF_0000:
            self._sequence = 0
        made = datagram(messages, self._sequence + 1, acknowledge=acknowledge)
        self._sequence = made.last
        return made

    def _send(self, due: Datagram) -> None:
        try:
            self._socket.send(due.data)
        except OSError as error:
            raise KernelBusy(
                f"a netlink request of {len(due.data)} bytes was not sent: {error}"
            ) from error

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        for data in self._datagrams():
            yield from frames(data)

    def _datagrams(self) -> Iterator[bytes]:
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except OSError as error:
                raise KernelBusy(f"a netlink answer was lost: {error}; try again") from error
            if not data:
                raise KernelBusy("the netlink socket was closed while an answer was due")
            yield data


def open_socket(
    groups: Sequence[int] = (),
    *,
    protocol: int = socket.NETLINK_ROUTE,
    receive_buffer: int = RECEIVE_BUFFER,
) -> socket.socket:
    """A netlink socket in the calling thread's namespace, subscribed to ``groups``."""
    try:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        sock = socket.socket(socket.AF_NETLINK, kind, protocol)
    except OSError as error:  # EMFILE, ENFILE, ENOMEM
        raise KernelBusy(f"no netlink socket can be opened: {error.strerror}") from error
    try:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        wait = struct.pack("ll", ANSWER_WITHIN_S, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        for option in (c.NETLINK_CAP_ACK, c.NETLINK_EXT_ACK, c.NETLINK_GET_STRICT_CHK):
            sock.setsockopt(c.SOL_NETLINK, option, 1)
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(c.SOL_NETLINK, c.NETLINK_ADD_MEMBERSHIP, group)
    except OSError:
        sock.close()
        raise
    return sock


def drain(sock: socket.socket) -> None:
    """Throw away what a subscription holds, after it has lost some (ENOBUFS).

    Until its queue has been empty once the kernel goes on dropping and says so no more (netlink_overrun and
    NETLINK_S_CONGESTED in net/netlink/af_netlink.c): whoever reads all anew before that may miss what comes next.
    """
    for _ in range(MOST_DRAINED):
        try:
            sock.recv(1, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return


def _index_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _failure(message: bytes, payload: bytes, flags: int) -> OverlayError | None:
    code, words = error_of(payload, flags)
    if code == 0:
        return None
    said = os.strerror(code) + (f" ({words})" if words else "")
    if code in _BUSY:
        return KernelBusy(f"the kernel is busy, {_name(message)}: {said}")
    return KernelRefused(f"the kernel refused {_name(message)}: {said}", errno=code)


def _name(message: bytes) -> str:
    return _NAMES.get(_type(message), f"netlink message type {_type(message)}")


def _changes(messages: Iterable[bytes]) -> int:
    return sum(message[_LOW_AT] & 3 != _GET for message in messages)


def _type(message: bytes) -> int:
    if len(message) < HEADER.size:
        raise BadInput(
            f"a netlink request has {len(message)} bytes, its header needs {HEADER.size}"
        )
    return int(struct.unpack_from("=H", message, _TYPE_AT)[0])
