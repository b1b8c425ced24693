"""What one packet costs on its way from a pod to another's socket: all of it on one core, in the sender's own time.

veths hand a packet on to the core it came from, so a sender that is held to one core does the whole way itself: two
pods, two bridges, the tunnel, every rule. Nobody waits at the other end, nobody is woken. That leaves the machine's
second core out, and with it most of the noise of iperf3. On a busy machine the kernel may leave packets to a thread of
its own: a burst of which the last one has not arrived when its send returns does not count.
"""

import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice

from e2e.bench_traffic import SMALL, Way
from e2e.process import CommandFailed
from overlay.netlink.namespace import open_inside

PORT = 5301
UDP_SEGMENT = 103
"""linux/udp.h: one send of many datagrams, which stay one packet inside the kernel as TCP's do."""
SEGMENT, SEGMENTS = 1400, 40
BURSTS, TRIES = 25, 200
SENDS = {SMALL: 200, SEGMENT * SEGMENTS: 20}
"""In a burst: less than a millisecond, so that most are over before somebody else has the core."""
SO_RCVBUFFORCE, ROOM = 33, 16 << 20
"""asm-generic/socket.h; more than a burst takes."""


@dataclass(slots=True)
class Costs:
    """Nanoseconds for one packet, per round: of 64 bytes, and of 56,000 in one piece."""

    small: list[float] = field(default_factory=list)
    large: list[float] = field(default_factory=list)


def measure(
    ways: Sequence[Way], found: dict[str, Costs], *, rounds: int, say: Callable[[str], None]
) -> None:
    """All ways, so many rounds, beginning with another one each time; ``found`` is filled on the way."""
    with _on_one_core():
        for number in range(rounds):
            turn = number % len(ways)
            for way in [*ways[turn:], *ways[:turn]]:
                costs = found.setdefault(way.name, Costs())
                with contextmanager(way.prepared)():
                    costs.small.append(_cost(way, SMALL))
                    costs.large.append(_cost(way, SEGMENT * SEGMENTS))
    said = (
        f"{name} {statistics.median(it.small):.0f} ns" for name, it in found.items() if it.small
    )
    say(f"one small packet, {rounds} rounds: {', '.join(said)}")


def _cost(way: Way, size: int) -> float:
    """Nanoseconds for one packet of that size, in the fastest of a few bursts: others on the machine only add."""
    with (
        closing(open_inside(way.server.path, _udp)) as receiver,
        closing(open_inside(way.client.path, _udp)) as sender,
    ):
        receiver.bind((way.address, PORT))
        receiver.settimeout(2)
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        sender.connect((way.address, PORT))
        sender.send(b"?")
        receiver.recv(1)  # it does arrive
        receiver.setblocking(False)
        if size > SEGMENT:
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
        bursts = (_burst(sender, receiver, size) for _ in range(TRIES))
        whole = list(islice((taken for taken in bursts if taken), BURSTS))
    if not whole:
        raise CommandFailed(f"{way.name}: in {TRIES} bursts no sender came to do the way itself")
    return min(whole)


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _burst(sender: socket.socket, receiver: socket.socket, size: int) -> float:
    """Nanoseconds for one packet; 0 if not all had arrived when the last one was sent."""
    data, count, send = bytes(size), SENDS[size], sender.send
    begun = time.perf_counter()
    for _ in range(count):
        send(data)
    taken = time.perf_counter() - begun
    came = 0
    with suppress(BlockingIOError):
        while receiver.recv(SEGMENT):
            came += 1
    wanted = count * max(size // SEGMENT, 1)
    if came == wanted:
        return taken / count * 1e9
    time.sleep(0.001)  # for that thread, which waits for the same core
    return 0.0


@contextmanager
def _on_one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
