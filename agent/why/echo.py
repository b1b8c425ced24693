"""Real packets from inside a pod's network namespace: a small echo, one that fills the MTU, a TCP connection.

Full size is sent with DF whatever path MTU the kernel remembers (IP_PMTUDISC_PROBE), so that a link on the way that
drops large packets without a word is found, and how much gets through. All of it ends within a few seconds.
"""

import contextlib
import errno
import secrets
import socket
import struct
import time
from collections.abc import Callable

from agent.why.facts import Answered
from overlay.model import Address, Family

SMALL = 84
"""Bytes of the IP packet, as ping(8) sends it."""
WAIT_S, LEAST_WAIT_S, TRIES = 0.6, 0.15, 2
MOST_BISECTIONS = 11
MOST_LATE = 256
"""Packets of anybody's that are still looked at once the time is up."""
_HEADERS = {Family.V4: 28, Family.V6: 48}
_IP_MTU_DISCOVER = {Family.V4: (socket.IPPROTO_IP, 10), Family.V6: (socket.IPPROTO_IPV6, 23)}
_PMTUDISC_PROBE = 3
"""linux/in.h, linux/in6.h."""
_ECHO, _REPLY = {Family.V4: 8, Family.V6: 128}, {Family.V4: 0, Family.V6: 129}
_PROTOCOL = {Family.V4: socket.IPPROTO_ICMP, Family.V6: socket.IPPROTO_ICMPV6}


class Echo:
    """Raw sockets in the calling thread's namespace; ``said`` is why the last packet had no answer."""

    def __init__(
        self, source: Address, to: Address, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.said = ""
        self._source, self._to, self._clock = source, to, clock
        self._mark = secrets.token_bytes(8)
        self._id = secrets.randbits(16)
        """Never that of an earlier test: conntrack would take it for the same conversation, and no rule about new ones,
        no NAT rule would be heard."""
        self._number = 0
        self._wait_s = WAIT_S

    def sent(self, size: int) -> float | None:
        """Seconds until an IP packet of this size was answered, None if it was not."""
        for _ in range(TRIES):
            took = self.once(size)
            if took is not None:
                return took
        return None

    def once(self, size: int) -> float | None:
        """The same with one packet."""
        family = Family.of(self._to)
        self._number += 1
        mark = self._mark + struct.pack("!I", self._number)
        payload = mark.ljust(max(len(mark), size - _HEADERS[family]), b"o")
        try:
            with socket.socket(family.af, socket.SOCK_RAW, _PROTOCOL[family]) as door:
                door.setsockopt(*_IP_MTU_DISCOVER[family], _PMTUDISC_PROBE)
                door.bind((str(self._source), 0))
                door.connect((str(self._to), 0))
                begun = self._clock()
                door.send(_message(family, self._id, payload))
                return self._heard(door, family, mark, begun)
        except OSError as error:
            self.said = error.strerror or str(error)
            return None

    def _heard(
        self, door: socket.socket, family: Family, mark: bytes, begun: float
    ) -> float | None:
        late = 0
        while late < MOST_LATE:
            left = begun + self._wait_s - self._clock()
            late += left <= 0  # it may have come in time, while this thread did not run
            door.settimeout(max(0.0, left))
            try:
                data = door.recv(1 << 16)
            except (TimeoutError, BlockingIOError):
                break
            body = data[(data[0] & 15) * 4 :] if family is Family.V4 and data else data
            if body[:1] == bytes([_REPLY[family]]) and body[8 : 8 + len(mark)] == mark:
                took = self._clock() - begun
                self._wait_s = min(WAIT_S, max(LEAST_WAIT_S, took * 20))
                return took
        self.said = "no answer"
        return None


def _message(family: Family, identifier: int, payload: bytes) -> bytes:
    """An echo request; for IPv6 the kernel makes the checksum."""
    head = struct.pack("!BBHHH", _ECHO[family], 0, 0, identifier, 1)
    if family is Family.V6:
        return head + payload
    data = head + payload + b"\0" * (len(payload) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return head[:2] + struct.pack("!H", ~total & 0xFFFF) + head[4:] + payload


def tested(source: Address, to: Address, *, mtu: int, port: int) -> Answered:
    """In the calling thread's namespace. ``port`` 0: no TCP connection is tried."""
    echo = Echo(source, to)
    small = echo.sent(SMALL)
    said = "" if small is not None else echo.said
    full, largest = False, 0
    if small is not None and mtu > SMALL:
        full = echo.sent(mtu) is not None
        said = "" if full else echo.said
        largest = mtu if full else _largest(echo.once, SMALL, mtu)
    return Answered(
        small=small is not None,
        small_size=SMALL,
        full=full,
        full_size=mtu,
        largest=largest,
        rtt_ms=round((small or 0.0) * 1000, 3),
        why=said[:200],
        port=_connected(source, to, port) if port else "",
    )


def _largest(answered: Callable[[int], float | None], fits: int, lost: int) -> int:
    """The largest size that comes back; one try each, for what is lost costs its whole wait."""
    for _ in range(MOST_BISECTIONS):
        if lost - fits <= 1:
            break
        middle = (fits + lost) // 2
        if answered(middle) is not None:
            fits = middle
        else:
            lost = middle
    return fits


def _connected(source: Address, to: Address, port: int) -> str:
    family = Family.of(to)
    with socket.socket(family.af, socket.SOCK_STREAM) as door:
        door.settimeout(WAIT_S * TRIES)
        with contextlib.suppress(OSError):
            door.bind((str(source), 0))
        try:
            door.connect((str(to), port))
        except TimeoutError:
            return "no answer"
        except OSError as error:
            return "refused" if error.errno == errno.ECONNREFUSED else (error.strerror or "failed")
    return "connected"
