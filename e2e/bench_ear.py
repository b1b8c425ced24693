"""The benchmark's own ear at the kernel: a netlink subscription in a node's namespace, nothing of the product's.

Tells when a route, a neighbour or an FDB entry came or went, by time.monotonic(), so that nobody has to poll.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType

from e2e.netns import Namespace
from e2e.process import CommandFailed
from overlay.netlink.namespace import run_inside

RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE = 3, 7
_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE = 270, 1, 33
NEW_ROUTE, DEL_ROUTE, NEW_NEIGH, DEL_NEIGH = 24, 25, 28, 29
_MADE = {DEL_ROUTE: NEW_ROUTE, DEL_NEIGH: NEW_NEIGH}
"""What is gone has not been made: that it was is forgotten, or nobody would hear that it is made again."""
_AF_BRIDGE = 7
_HEADER, _RT, _ND = struct.Struct("=IHHII"), struct.Struct("=BBBBBBBBI"), struct.Struct("=B3xiHBB")
_MAIN = 254
_BUFFER = 64 << 20
Fact = tuple[int, str]
"""(message type, what about): a route's subnet, a neighbour's address, an FDB entry's MAC."""


class Ear:
    """Listens in a thread from the start of the with block to its end.

    ``routes_only`` where thousands come: they are counted a thousand times a second and not looked at one by one, so
    that the ear takes nothing from whom it listens to.
    """

    def __init__(self, space: Namespace, *, routes_only: bool = False) -> None:
        self._groups = [RTNLGRP_IPV4_ROUTE] if routes_only else [RTNLGRP_IPV4_ROUTE, RTNLGRP_NEIGH]
        self._socket = run_inside(space.path, self._open)
        self._at: dict[Fact, float] = {}
        self._routes = 0
        self._first_route = self._last_route = 0.0
        self._news = threading.Condition()
        work = self._count if routes_only else self._listen
        self._thread = threading.Thread(target=work, name="ear", daemon=True)

    def __enter__(self) -> "Ear":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._thread.join(5)

    def forget(self) -> None:
        """What was heard so far."""
        with self._news:
            self._at.clear()

    def wait(self, facts: Iterable[Fact], *, timeout_s: float = 20) -> float:
        """When the last of these was heard first; CommandFailed if one is not."""
        wanted = list(facts)
        with self._news:
            self._until(lambda: all(fact in self._at for fact in wanted), timeout_s, "events")
            return max(self._at[fact] for fact in wanted)

    def wait_routes(self, count: int, *, timeout_s: float) -> tuple[float, float]:
        """When the first and the ``count``-th route was made."""
        deadline = time.monotonic() + timeout_s
        while self._routes < count:
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"not within {timeout_s:g} s: {count} routes; {self._routes} came"
                )
            time.sleep(0.01)
        return self._first_route, self._last_route

    # --- inside -----------------------------------------------------------------------------------

    def _until(self, true: Callable[[], bool], timeout_s: float, what: str) -> None:
        if not self._news.wait_for(true, timeout_s):
            raise CommandFailed(f"not within {timeout_s:g} s: {what}; heard {len(self._at)} facts")

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.bind((0, 0))
        for group in self._groups:
            sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        sock.settimeout(0.2)
        return sock

    def _count(self) -> None:
        """New routes in the main table; stamps are late by a millisecond at most."""
        self._socket.setblocking(False)
        while True:
            try:
                while True:
                    data = self._socket.recv(1 << 16)
                    now = time.monotonic()
                    if data[4] == NEW_ROUTE and data[_HEADER.size + 4] == _MAIN:
                        self._first_route = self._first_route or now
                        self._last_route, self._routes = now, self._routes + 1
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                return  # closed

    def _listen(self) -> None:
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                return  # closed
            now = time.monotonic()
            with self._news:
                for kind, what in facts(data):
                    self._at.pop((_MADE.get(kind, 0), what), None)
                    self._at.setdefault((kind, what), now)
                self._news.notify_all()


def facts(data: bytes) -> Iterable[Fact]:
    """What a datagram of the kernel's says."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        body = data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3
        if kind in (NEW_ROUTE, DEL_ROUTE):
            found = _attributes(body, _RT.size)
            if 1 in found and body[0] == socket.AF_INET and body[4] == _MAIN:  # RTA_DST
                yield kind, str(IPv4Network((found[1], body[1])))
        elif kind in (NEW_NEIGH, DEL_NEIGH):
            found = _attributes(body, _ND.size)
            if body[0] == _AF_BRIDGE and 2 in found:  # NDA_LLADDR
                yield kind, found[2].hex(":")
            elif body[0] == socket.AF_INET and 1 in found:  # NDA_DST
                yield kind, str(IPv4Address(found[1]))


def _attributes(data: bytes, offset: int) -> dict[int, bytes]:
    found = {}
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found
