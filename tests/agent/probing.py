"""A path between two nodes for the tests of agent.probes: a door with a clock of its own, on which nothing waits."""

import errno
from collections import deque
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network

from agent.probes.packets import Heard, Reply
from agent.probes.targets import Target
from overlay.errors import KernelRefused
from overlay.model import Address


def target(number: int = 2, *, full: int = 1450, port: int = 8472, node: str = "") -> Target:
    """Node n2, unless another is wanted."""
    return Target(
        key=f"10.5.{number}.0-24",
        node=node or f"n{number}",
        subnet=ip_network(f"10.5.{number}.0/24"),
        address=ip_address(f"10.5.{number}.0"),
        source=ip_address("10.5.1.0"),
        underlay=ip_address(f"192.168.50.{number}"),
        local=ip_address("192.168.50.1"),
        full=full,
        device="eth0",
        port=port,
        overhead=50,
    )


class Path:
    """Implements agent.probes.engine.Door. ``passes(address, size)`` is asked once for each packet."""

    ident, token = 7, b"ourtoken"

    def __init__(self, passes: Callable[[Address, int], bool], *, device_mtu: int = 65535) -> None:
        self.now, self.sent, self.delay_s = 0.0, 0, 0.01
        self.sizes: list[int] = []
        self.also: deque[Heard] = deque()
        self._passes, self._device_mtu = passes, device_mtu
        self._coming: deque[tuple[float, Heard]] = deque()

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def listen(self, source: Address) -> None:
        """Always."""

    def close(self) -> None:
        """Nothing to do."""

    def send(self, source: Address, target: Address, *, number: int, size: int) -> None:
        """Answered after ``delay_s``, or never."""
        if size > self._device_mtu:
            raise KernelRefused("Message too long", errno=errno.EMSGSIZE)
        self.sent += 1
        self.sizes.append(size)
        if self._passes(target, size):
            reply = Reply(target, self.ident, number, self.token, size)
            self._coming.append((self.now + self.delay_s, reply))

    def receive(self, wait_s: float) -> Iterator[tuple[Heard, float]]:
        """Jumps to the next arrival, or to the end of the wait."""
        while self.also:
            yield self.also.popleft(), self.now
        until = self.now + wait_s
        if not self._coming or self._coming[0][0] > until:
            self.now = until
            return
        self.now = max(self.now, self._coming[0][0])
        while self._coming and self._coming[0][0] <= self.now:
            at, heard = self._coming.popleft()
            yield heard, at
