"""Listening to what changes in the kernel, whoever changes it."""

import errno
import select
import socket

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


class Monitor:
    """A subscription in the network namespace it was made in."""

    def __init__(self) -> None:
        self._socket = open_socket(_GROUPS)
        self._wake, self._waker = socket.socketpair()

    def close(self) -> None:
        """End a blocked ``read`` and the subscription."""
        self._waker.close()

    def read(self) -> list[Record] | None:
        """The next records (at least one datagram's); None if events were lost: read everything instead.

        Raises:
            EOFError: closed.
        """
        ready, _, _ = select.select([self._socket, self._wake], [], [])
        if self._wake in ready:
            self._socket.close()
            raise EOFError("the monitor was closed")
        try:
            data = self._socket.recv(_RECEIVE)
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.EAGAIN):
                return None
            raise
        records = (parse(kind, payload) for kind, _, _, payload in frames(data))
        return [record for record in records if record is not None]
