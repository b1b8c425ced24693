"""One change among thousands: from the put that etcd acknowledged to the kernel that holds it.

Also 500 joins at once, and 100 entries that somebody deleted. The kernel tells by netlink (e2e.bench_ear), etcd's
acknowledgement is stamped by the process that wrote (e2e.bench_records): nobody polls.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from e2e.bench_ear import DEL_NEIGH, DEL_ROUTE, NEW_NEIGH, NEW_ROUTE, Ear, Fact
from e2e.bench_load import cpu_s
from e2e.bench_records import Records, SimPeer
from e2e.node import Node

DEVICE = "overlay.1"
BREATH_S = 0.01
"""Between two changes: each is alone."""


@dataclass(slots=True)
class Events:
    """Seconds after etcd's acknowledgement, one per change; CPU seconds of the agent for one of them."""

    join: list[float] = field(default_factory=list)
    mac: list[float] = field(default_factory=list)
    leave: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Storm:
    """Many joins at once: seconds of the writing, from the last acknowledgement to the kernel, CPU of the agent."""

    written_s: float
    after_last_s: float
    cpu_s: float


def singly(node: Node, records: Records, *, first: int, count: int) -> Events:
    """So many peers join one by one, then each changes its MAC, then each leaves."""
    found, before = Events(), cpu_s(node.pid)
    numbers = range(first, first + count)
    with Ear(node.namespace) as ear:
        for number in numbers:
            _one(ear, records, found.join, _made(SimPeer(number)), "put", number, 0)
        for number in numbers:
            old, new = SimPeer(number), SimPeer(number, 1)
            facts = [(NEW_NEIGH, new.mac), (DEL_NEIGH, old.mac)]
            _one(ear, records, found.mac, facts, "put", number, 1)
        for number in numbers:
            _one(ear, records, found.leave, _gone(SimPeer(number, 1)), "delete", number)
    found.cpu_s = (cpu_s(node.pid) - before) / (3 * count)
    return found


def _one(
    ear: Ear, records: Records, times: list[float], facts: list[Fact], verb: str, *arguments: int
) -> None:
    ear.forget()
    acknowledged = records.do(verb, *arguments)
    times.append(max(ear.wait(facts) - acknowledged, 0.0))
    time.sleep(BREATH_S)


def storm(node: Node, records: Records, *, first: int, count: int) -> Storm:
    """All of them join as fast as one client can write; then they are taken away again."""
    before = cpu_s(node.pid)
    with Ear(node.namespace) as ear:
        begun = time.monotonic()
        _, last = records.do("storm", first, count)
        done = ear.wait(_all_made(range(first, first + count)))
        used = cpu_s(node.pid) - before
        ear.forget()
        records.do("clear", first, count)
        ear.wait(fact for number in range(first, first + count) for fact in _gone(SimPeer(number)))
    return Storm(last - begun, max(done - last, 0.0), used)


def damage(node: Node, *, first: int, count: int) -> float:
    """Delete the routes of so many peers behind the agent's back; seconds until all are there again."""
    peers = [SimPeer(number) for number in range(first, first + count)]
    with Ear(node.namespace) as ear:
        node.namespace.ip(*(f"route del {peer.subnet} dev {DEVICE}" for peer in peers))
        deleted = ear.wait((DEL_ROUTE, str(peer.subnet)) for peer in peers)
        return ear.wait((NEW_ROUTE, str(peer.subnet)) for peer in peers) - deleted


def _made(peer: SimPeer) -> list[Fact]:
    return [
        (NEW_ROUTE, str(peer.subnet)),
        (NEW_NEIGH, str(peer.subnet.network_address)),
        (NEW_NEIGH, peer.mac),
    ]


def _gone(peer: SimPeer) -> list[Fact]:
    return [(DEL_ROUTE, str(peer.subnet)), (DEL_NEIGH, peer.mac)]


def _all_made(numbers: Iterable[int]) -> Sequence[Fact]:
    return [fact for number in numbers for fact in _made(SimPeer(number))]
