"""Listening to what changes in the kernel, whoever changes it."""

import errno
import select
import socket
import struct

from overlay.netlink.parse import Record, frames, parse
from overlay.netlink.socket import open_socket

RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE = 1, 3, 5, 7
RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE = 9, 11
"""linux/rtnetlink.h."""
_GROUPS = (
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
)
_RECEIVE = 1 << 18
_PORT = slice(12, 16)
"""Of struct nlmsghdr: who asked for the change. The kernel sends one message per datagram here."""
GATHER_S = 0.2
MOST_DATAGRAMS = 4096
"""Then what was read is judged before more is read."""


class Monitor:
    """A subscription in the network namespace it was made in.

    ``own_port``: what that netlink socket changed is no news (the kernel does not say whose an FDB entry is). A start
    with thousands of peers would else hear of each of its own messages, on the core that sends them.
    """

    def __init__(self, *, own_port: int = 0) -> None:
        self._own = struct.pack("=I", own_port) if own_port else b"nobody"
        self._socket = open_socket(_GROUPS)
        self._wake, self._waker = socket.socketpair()
        self._poll = select.poll()  # select() ends at descriptor 1023
        for sock in (self._socket, self._wake):
            self._poll.register(sock, select.POLLIN)
        self._alarm = select.poll()
        self._alarm.register(self._wake, select.POLLIN)

    def close(self) -> None:
        """End a blocked ``read`` and the subscription."""
        self._waker.close()

    def read(self) -> list[Record] | None:
        """The next records and what follows within GATHER_S; None if events were lost: read all instead.

        One pod's ADD makes some 24 datagrams. To read them while it is at work would cost it more time
        than its own messages do.

        Raises:
            EOFError: closed.
        """
        if self._closed():
            self._socket.close()
            self._wake.close()
            raise EOFError("the monitor was closed")
        self._alarm.poll(GATHER_S * 1000)
        found: list[Record] = []
        for _ in range(MOST_DATAGRAMS):
            try:
                data = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                if error.errno == errno.EAGAIN:
                    break
                raise
            if data[_PORT] == self._own:
                continue
            records = (parse(kind, payload) for kind, _, _, payload in frames(data))
            found += [record for record in records if record is not None]
        return found

    def _closed(self) -> bool:
        """Wait for something to read; True if it is the end."""
        if self._wake.fileno() < 0:
            return True
        wake = self._wake.fileno()
        return any(descriptor == wake for descriptor, _ in self._poll.poll())
