"""Listening to what changes in the kernel, whoever changes it."""

import errno
import select
import socket
import struct
from dataclasses import dataclass

from overlay.netlink import socketfilter
from overlay.netlink.frames import frames
from overlay.netlink.nftmonitor import NftEvents, TableChange
from overlay.netlink.parse import Record, parse
from overlay.netlink.socket import RECEIVE_BUFFER, drain, open_socket

RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE = 1, 3, 5, 7
RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE = 9, 11
RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE = 8, 19
"""linux/rtnetlink.h."""
_GROUPS = (
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_IPV4_RULE,
    RTNLGRP_IPV6_RULE,
)
_RECEIVE = 1 << 18
_PORT_AT, _HEADER = 12, 16
_LOAD_WORD, _UNLESS_EQUAL, _RETURN = 0x20, 0x15, 0x06
"""linux/bpf_common.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K."""
_ALL = 0xFFFFFFFF
GATHER_S = 0.2
MOST_DATAGRAMS = 4096
"""Then what was read is judged before more is read."""


@dataclass(frozen=True, slots=True)
class Event:
    """``port`` is the netlink port of whoever asked for the change: mostly its pid; 0 where the kernel does not say."""

    record: Record | TableChange
    port: int = 0


class Monitor:
    """A subscription in the network namespace it was made in. ``buffer``: bytes that the kernel may hold for us.

    ``own_port``: what that netlink socket changed is no news (the kernel does not say whose an FDB entry is). A start
    with thousands of peers would else hear of each of its own messages, on the core that sends them.
    """

    def __init__(self, *, buffer: int = RECEIVE_BUFFER, own_port: int = 0) -> None:
        self._socket = open_socket(_GROUPS, receive_buffer=buffer)
        if own_port:
            _leave_out(self._socket, own_port)
        self._nft = NftEvents(buffer=buffer)
        self._wake, self._waker = socket.socketpair()
        self._poll = select.poll()  # select() ends at descriptor 1023
        for sock in (self._socket, self._nft.socket, self._wake):
            self._poll.register(sock, select.POLLIN)
        self._alarm = select.poll()
        self._alarm.register(self._wake, select.POLLIN)

    def close(self) -> None:
        """End a blocked ``read`` and the subscription."""
        self._waker.close()

    def read(self, timeout_s: float | None = None) -> list[Event] | None:
        """The next events and what follows within GATHER_S; None if events were lost: read all instead.

        One pod's ADD makes some 24 datagrams. To read them while it is at work would cost it more time
        than its own messages do.

        Raises:
            EOFError: closed.
        """
        wake = self._wake.fileno()
        if wake >= 0:
            ready = self._poll.poll(None if timeout_s is None else timeout_s * 1000)
            if not ready:
                return []
        if wake < 0 or any(descriptor == wake for descriptor, _ in ready):
            for sock in (self._socket, self._nft.socket, self._wake):
                sock.close()
            raise EOFError("the monitor was closed")
        self._alarm.poll(GATHER_S * 1000)
        found, tables = self._links_and_routes(), self._nft.read()
        if found is None or tables is None:
            return None
        return found + [Event(change) for change in tables]

    def _links_and_routes(self) -> list[Event] | None:
        found: list[Event] = []
        for _ in range(MOST_DATAGRAMS):
            try:
                data = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    drain(self._socket)
                    return None
                if error.errno == errno.EAGAIN:
                    break
                raise
            found += _events(data)
        return found


def _leave_out(sock: socket.socket, port: int) -> None:
    """Have the kernel drop what this netlink port changed; it sends one message per datagram here.

    Struct sock_filter four times; what is loaded is taken to be big-endian.
    """
    (number,) = struct.unpack("!I", struct.pack("=I", port))
    program = (
        (_LOAD_WORD, 0, 0, _PORT_AT),
        (_UNLESS_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, _ALL),
    )
    socketfilter.attach(sock, b"".join(struct.pack("=HBBI", *step) for step in program))


def _events(data: bytes) -> list[Event]:
    found, offset = [], 0
    for kind, _, _, payload in frames(data):
        record = parse(kind, payload)
        if record is not None:
            found.append(Event(record, struct.unpack_from("=I", data, offset + _PORT_AT)[0]))
        offset += (_HEADER + len(payload) + 3) & ~3
    return found
