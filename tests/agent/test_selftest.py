"""selftest: only a device that fails while everything else works, at every peer, is called broken."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.loop import Loop
from agent.selftest import (
    MOST_PEERS,
    PAGE_NAME,
    ROUNDS,
    SelfTest,
    Tunnel,
    Verdict,
    tunnels,
    verdict,
)
from overlay.errors import ForeignObject
from overlay.keys import route_key
from overlay.model import Address, Backend, Network
from overlay.netlink.offload import Checksum
from overlay.onlink import OnLink, Way
from tests.agent.one_node import Node, snapshot
from tests.examples import ME, NETWORK

PEERS = tuple(ip_address(f"10.5.{number}.0") for number in range(2, 12))
TUNNEL = Tunnel("overlay.1", ip_address("10.5.1.0"), PEERS)

Answers = Callable[[Tunnel, Address, Checksum], bool]


class World:
    """``good`` peers get whole packets, ``deaf`` ones never answer; of the rest only software checksums arrive."""

    def __init__(self, *, good: str = "", deaf: str = "") -> None:
        self.sent = 0
        self._good, self._deaf = good.split(), deaf.split()

    def ask(self, _tunnel: Tunnel, peer: Address, checksum: Checksum) -> bool:
        """One datagram."""
        self.sent += 1
        if str(peer) in self._deaf:
            return False
        return checksum is Checksum.KERNEL or str(peer) in self._good


ALL = " ".join(map(str, PEERS))


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        (World(), Verdict.BROKEN),
        (World(deaf=ALL), Verdict.UNKNOWN),
        (World(good=ALL), Verdict.GOOD),
        (World(deaf="10.5.2.0 10.5.3.0"), Verdict.BROKEN),
        (World(good="10.5.5.0", deaf="10.5.2.0"), Verdict.GOOD),
    ],
)
def test_the_verdict_needs_an_answer_and_no_contradiction(world: World, expected: Verdict) -> None:
    """Silence proves nothing; one peer that got it whole clears the device."""
    assert verdict(TUNNEL, world.ask) is expected
    assert world.sent <= 2 * ROUNDS * MOST_PEERS


def test_a_good_device_costs_one_packet() -> None:
    """A thousand nodes that start together ask each other no more than that."""
    world = World(good=ALL)
    verdict(TUNNEL, world.ask)
    assert world.sent == 1


def test_no_peer_no_verdict() -> None:
    """The first node of a cluster."""
    assert verdict(Tunnel("overlay.1", TUNNEL.local, ()), World().ask) is Verdict.UNKNOWN


@given(st.lists(st.booleans(), max_size=2 * ROUNDS * MOST_PEERS))
def test_whatever_is_lost_no_answer_to_the_device_means_broken_only_with_answers_to_the_kernel(
    answers: list[bool],
) -> None:
    """Any pattern of losses: BROKEN needs ROUNDS answers to the one kind in a row and none to the other."""
    left, told = list(answers), list[tuple[Checksum, bool]]()

    def ask(_tunnel: Tunnel, _peer: Address, checksum: Checksum) -> bool:
        told.append((checksum, left.pop(0) if left else False))
        return told[-1][1]

    found = verdict(TUNNEL, ask)
    by_device = [answered for kind, answered in told if kind is Checksum.DEVICE]
    by_kernel = [answered for kind, answered in told if kind is Checksum.KERNEL]
    assert (found is Verdict.GOOD) == any(by_device)
    if found is Verdict.BROKEN:
        assert sum(by_kernel) >= ROUNDS


def test_a_peer_that_is_held_up_keeps_nobody_from_testing() -> None:
    """Somebody's route in the place of one peer may stand there for months."""
    node = Node()
    node.kernel.fail_next[route_key(ip_network("10.5.4.0/24"))] = ForeignObject("a route", errno=17)
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(1, 2, 4))
    node.settle()
    assert not node.reconciler.in_sync
    own = ip_address("10.5.1.0")
    assert tunnels(node.reconciler) == [Tunnel("overlay.1", own, (ip_address("10.5.2.0"),))]


def test_a_page_that_is_garbage_says_nothing(tmp_path: Path) -> None:
    """It must not keep the agent from starting."""
    for garbage in (b'["\xff"]', b"[1]", b"", b"["):
        (tmp_path / PAGE_NAME).write_bytes(garbage)
        loop = Loop(Node().reconciler, round_s=1, after_round=lambda _: None)
        assert SelfTest(tmp_path, loop, enabled=True).facts() == {}


def test_a_peer_that_is_reached_directly_is_not_asked() -> None:
    """Among thousands of those the few behind the tunnel have to be found."""
    node = Node()
    near = OnLink((Way(ip_network("192.0.2.0/24"), "eth0"), Way(ip_network("192.0.2.9/32"), "")))
    direct = Network(NETWORK.pools, Backend(direct_routing=True))
    node.reconciler.set_node(direct, replace(ME, connected=near))
    node.reconciler.on_event(snapshot(*range(1, 100)))
    node.settle()
    assert [tunnel.peers for tunnel in tunnels(node.reconciler)] == [(ip_address("10.5.9.0"),)]
