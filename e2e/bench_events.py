"""One change among thousands: from the put that etcd acknowledged to the kernel that holds it.

Also 500 joins at once, and entries that somebody deleted. The kernel tells by netlink (e2e.bench_ear), etcd's
acknowledgement is stamped by the process that wrote (e2e.bench_records): nobody polls. Who is measured is our agent,
or flanneld (e2e.bench_flanneld).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from e2e.bench_ear import DEL_NEIGH, DEL_ROUTE, NEW_NEIGH, NEW_ROUTE, Ear, Fact
from e2e.bench_load import cpu_s
from e2e.bench_records import Records, SimPeer
from e2e.netns import Namespace
from e2e.node import Node
from e2e.process import CommandFailed

DEVICE = "overlay.1"
PATIENCE_S = 10
"""For our own repairs."""
BREATH_S = 0.01
"""Between two changes: each is alone."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who follows etcd in a namespace, by which tunnel device; ``cpu_s`` is what it has used so far.

    ``clean``: whether it takes away the FDB entry of a MAC that a peer no longer has.
    """

    space: Namespace
    device: str
    cpu_s: Callable[[], float]
    clean: bool = True


@dataclass(slots=True)
class Events:
    """Seconds after etcd's acknowledgement, one per change; CPU seconds of the subject for one of them."""

    join: list[float] = field(default_factory=list)
    mac: list[float] = field(default_factory=list)
    leave: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Storm:
    """Many joins at once: seconds of the writing, from the last acknowledgement to the kernel, CPU of the subject."""

    written_s: float
    after_last_s: float
    cpu_s: float


def agent(node: Node) -> Subject:
    """Ours."""
    return Subject(node.namespace, DEVICE, lambda: cpu_s(node.pid))


def singly(it: Subject, records: Records, found: Events, *, first: int, count: int) -> None:
    """So many peers join one by one, then each changes its MAC, then each leaves; ``found`` is filled on the way."""
    before = it.cpu_s()
    numbers = range(first, first + count)
    with Ear(it.space) as ear:
        for number in numbers:
            _one(ear, records, found.join, _made(SimPeer(number)), "put", number, 0)
        for number in numbers:
            old, new = SimPeer(number), SimPeer(number, 1)
            facts = [(NEW_NEIGH, new.mac), *([(DEL_NEIGH, old.mac)] if it.clean else [])]
            _one(ear, records, found.mac, facts, "put", number, 1)
        for number in numbers:
            _one(ear, records, found.leave, _gone(SimPeer(number, 1)), "delete", number)
    found.cpu_s = (it.cpu_s() - before) / (3 * count)


def _one(
    ear: Ear, records: Records, times: list[float], facts: list[Fact], verb: str, *arguments: int
) -> None:
    ear.forget()
    acknowledged = records.do(verb, *arguments)
    times.append(max(ear.wait(facts) - acknowledged, 0.0))
    time.sleep(BREATH_S)


def storm(it: Subject, records: Records, *, first: int, count: int) -> Storm:
    """All of them join as fast as one client can write; then they are taken away again."""
    before = it.cpu_s()
    with Ear(it.space) as ear:
        begun = time.monotonic()
        _, last = records.do("storm", first, count)
        done = ear.wait(_all_made(range(first, first + count)))
        used = it.cpu_s() - before
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


def repairs(it: Subject, *, first: int, patience_s: float) -> dict[str, float | None]:
    """Delete a neighbour, an FDB entry and a route, of one peer each; seconds until it is back; None: not in time."""
    hop, mac, way = (SimPeer(number) for number in range(first, first + 3))
    via = str(hop.subnet.network_address)
    kinds = {
        "neighbour": (DEL_NEIGH, NEW_NEIGH, via),
        "FDB entry": (DEL_NEIGH, NEW_NEIGH, mac.mac),
        "route": (DEL_ROUTE, NEW_ROUTE, str(way.subnet)),
    }
    with Ear(it.space) as ear:
        it.space.ip(f"neigh del {via} dev {it.device}")
        it.space.must("bridge", "fdb", "del", mac.mac, "dev", it.device)
        it.space.ip(f"route del {way.subnet} dev {it.device}")
        deadline = time.monotonic() + patience_s
        found: dict[str, float | None] = {}
        for kind, (deleted, made, what) in kinds.items():
            at = ear.wait([(deleted, what)])
            back = _heard(ear, (made, what), deadline)
            found[kind] = None if back is None else max(back - at, 0.0)
    return found


def _heard(ear: Ear, fact: Fact, deadline: float) -> float | None:
    try:
        return ear.wait([fact], timeout_s=max(deadline - time.monotonic(), 0.01))
    except CommandFailed:
        return None


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
