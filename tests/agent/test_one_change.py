"""One peer's change costs the same with a hundred peers and with ten thousand: steps are counted, no time is taken."""

import sys
from collections.abc import Callable, Iterator, KeysView
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from ipaddress import ip_address, ip_network
from types import FrameType
from typing import Any

import pytest

from agent.backlog import RETRY_FIRST_S
from agent.events import Event, Gone, Put, Snapshot
from agent.roll import Past
from overlay.errors import ForeignObject
from overlay.keys import route_key
from overlay.model import Endpoint, Lease
from tests.agent.one_node import Node
from tests.examples import ME, NETWORK

FEW, MANY = 100, 10_000
WIDE = replace(
    NETWORK,
    pools=(
        replace(
            NETWORK.pools[0],
            network=ip_network("10.0.0.0/8"),
            first=ip_network("10.0.0.0/24"),
            last=ip_network("10.255.255.0/24"),
        ),
    ),
)


def lease(number: int, *, mac: int = 0, mod: int = 5) -> Lease:
    """A peer of many, none of whom is this node."""
    base = 0x0A06_0000 + number * 256
    end = Endpoint(
        ip_network((base, 24)),
        ip_address(0xC633_0000 + number),
        f"06:00:00:{mac:02x}:{number >> 8:02x}:{number & 255:02x}",
        1,
    )
    key = f"{end.subnet.network_address}-24"
    return Lease(key, (end,), node=f"n{number}", create_revision=5, mod_revision=mod)


class Whole(dict[Any, Any]):
    """A map that nobody may walk through."""

    def _walked(self, *_: object) -> Any:  # noqa: ANN401
        pytest.fail("a map of all peers was walked through")

    __iter__ = values = items = copy = _walked

    def keys(self) -> Any:  # noqa: ANN401
        """To look some keys up is no walk."""
        return KeysView(self)


@cache
def steps(count: int, kind: str) -> int:
    """Bytecodes of the product for one event and the round after it, among so many peers."""
    node = Node()
    reconciler = node.reconciler
    reconciler.set_node(WIDE, ME)
    present = {it.key: it for it in map(lease, range(count))}
    reconciler.on_event(Snapshot(present, {}, 10))
    node.settle()
    assert reconciler.in_sync
    demand = reconciler.demand
    for holder, name in (
        (demand.roll, "leases"),
        (demand.wanted, "want"),
        (demand.wanted, "_claims"),
        (demand.wanted, "_holders"),
        (reconciler, "_have"),
    ):
        setattr(holder, name, Whole(getattr(holder, name)))
    events: dict[str, Event] = {
        "join": Put(lease(count, mod=11)),
        "MAC": Put(lease(7, mac=1, mod=11)),
        "leave": Gone(lease(7).key, 11),
        "held up": Put(lease(count, mod=11)),
    }
    if kind == "held up":
        node.kernel.fail_next[route_key(lease(count).endpoints[0].subnet)] = ForeignObject(
            "somebody's route", errno=17
        )
    node.clock.now += 0.1
    with counting() as counted:
        reconciler.on_event(events[kind])
        assert reconciler.tick() > 0
        if kind == "held up":
            assert (reconciler.in_sync, reconciler.serving) == (False, True)
            assert reconciler.first_trouble() == (lease(count).key, "somebody's route")
            node.clock.now += RETRY_FIRST_S * 2
            assert reconciler.tick() > 0
        assert (reconciler.in_sync, reconciler.serving) == (True, True)
        assert demand.count == count + {"MAC": 0, "leave": -1}.get(kind, 1)
        assert reconciler.first_trouble() == ("", "")
    return counted()


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """How many bytecodes of agent/ and overlay/ were run within the block."""
    count = 0

    def local(frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401
        nonlocal count
        count += event == "opcode"
        return local

    def entered(frame: FrameType, _event: str, _arg: object) -> Any:  # noqa: ANN401
        if not frame.f_globals.get("__name__", "").startswith(("agent.", "overlay.")):
            return None
        frame.f_trace_opcodes = True
        return local

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        yield lambda: count
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("kind", ["join", "MAC", "leave", "held up"])
def test_one_peers_change_costs_the_same_among_few_and_among_many(kind: str) -> None:
    """Its own objects and nothing else is looked at."""
    assert 100 < steps(MANY, kind) <= steps(FEW, kind) * 1.05


def test_a_round_with_thousands_of_orphans_looks_at_none_of_them() -> None:
    """Etcd lost its history: each round asks whether the time of one is up."""

    def rounds(count: int) -> int:
        node = Node()
        reconciler = node.reconciler
        reconciler.set_node(WIDE, ME)
        present = {it.key: it for it in map(lease, range(count))}
        reconciler.on_event(Snapshot(present, {}, 10))
        reconciler.on_event(Snapshot({}, {}, 1, history_lost=True))
        node.settle()
        assert len(reconciler.demand.roll.orphans) == count
        node.clock.now += 0.1
        with counting() as counted:
            reconciler.tick()
        return counted()

    assert rounds(1000) <= rounds(10) * 1.05


def test_an_orphan_of_an_earlier_life_is_let_go_in_time() -> None:
    """Some have more time left than others; each goes when its own is up."""
    node = Node()
    roll = node.reconciler.demand.roll
    past = {it.key: it for it in map(lease, range(3))}
    kept = {key: (0.0, left) for key, left in zip(past, (50.0, 10.0, 30.0), strict=True)}
    node.reconciler.remember(Past(past, 10, kept))
    gone = []
    for _ in range(6):
        node.clock.now += 10.0
        gone.append(len(roll.expire()))
    assert gone == [1, 0, 1, 0, 1, 0]
