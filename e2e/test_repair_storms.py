"""Two damages at once, and at the worst moments: while the agent mends, starts, is killed, or etcd hangs."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.damagednode import BRIDGE, DEVICE, NFT, POD, SWITCHES
from e2e.damagedpeers import FDB, NEIGHBOURS, ROUTES
from e2e.damages import Side, three_nodes
from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.lab import Lab
from e2e.netns import cable, difference
from e2e.node import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PATIENCE_S = 60.0
"""What is fought over waits for up to 30 s."""
FOREIGN = {
    "route replaced by another program's",
    "route replaced by a blackhole",
    "route to our own pods a blackhole",
}
"""What others put in the place of ours while no agent saw it is theirs, and named."""
DAMAGES = {
    name: damage
    for name, damage in (ROUTES | NEIGHBOURS | FDB | DEVICE | BRIDGE | POD | SWITCHES | NFT).items()
    if name not in FOREIGN
}
MOMENTS = ("together", "while mending", "while etcd hangs", "at a start", "before a kill")
EACH = 4
CHOICE = random.Random(20261129)
CASES = [
    (moment, *CHOICE.sample(sorted(DAMAGES), 2), CHOICE.uniform(0.05, 0.6))
    for moment in MOMENTS
    for _ in range(EACH)
]
Stage = tuple[Lab, Side, Side]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One lab for all; its two nodes are damaged in turn."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        one, two, _ = three_nodes(lab)
        for side in (one, two):
            wait_for(side.whole, "pings before any damage", timeout_s=PATIENCE_S)
        yield lab, one, two


@contextmanager
def hanging(lab: Lab) -> Iterator[None]:
    """etcd says nothing within the block."""
    lab.etcd.hang()
    try:
        yield
    finally:
        lab.etcd.resume()


def start(lab: Lab, side: Side) -> None:
    """The agent's."""
    side.node.start_agent()
    lab.record()


def as_before(side: Side, before: dict[str, list[str]]) -> None:
    """Wait until traffic flows and the kernel is as it was."""

    def whole() -> bool:
        return side.whole() and not difference(before, side.picture())

    def differs() -> str:
        return "\n".join([*difference(before, side.picture()), side.node.log_tail()])

    wait_for(whole, "a kernel as it was", timeout_s=PATIENCE_S, also=differs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1]}, {case[2]}")
def test_two_damages_at_the_worst_moment_are_mended(
    stage: Stage, case: tuple[str, str, str, float]
) -> None:
    """The second may find nothing left to damage; that both are mended is all that counts."""
    (lab, *sides), (moment, first, second, pause_s) = stage, case
    side = sides[CASES.index(case) % 2]
    before = side.picture()
    one, two = (DAMAGES[name].script.format(**side.words) for name in (first, second))
    run = side.node.namespace.run

    if moment == "while etcd hangs":
        with hanging(lab):
            run(["sh", "-c", f"{one}; {two}"])
            as_before(side, before)
        return
    if moment == "at a start":
        side.node.kill_agent()
        start(lab, side)
        time.sleep(pause_s)
    run(["sh", "-c", one if moment == "while mending" else f"{one}; {two}"])
    if moment == "while mending":
        time.sleep(pause_s)
        run(["sh", "-c", two])
    if moment == "before a kill":
        time.sleep(pause_s)
        side.node.kill_agent()
        start(lab, side)
    if moment in ("at a start", "before a kill"):
        side.node.wait_ready(peers=2, timeout_s=PATIENCE_S)
    as_before(side, before)


def test_an_underlay_interface_that_is_deleted_and_made_anew_gets_its_tunnel_again(
    stage: Stage,
) -> None:
    """A card that is pulled, a VPN whose daemon restarts: the kernel deletes the tunnel device with it."""
    lab, side, _ = stage
    space, subnet = side.node.namespace, side.node.subnet
    before = side.picture()
    space.ip("link del eth0")
    wait_for(
        lambda: "underlay" in side.node.tell("status")["trouble"],
        "the status tells of it",
        timeout_s=PATIENCE_S,
    )
    assert "overlay.1" not in space.must("ip", "link", "show")

    cable(lab.fabric, "port1", space, "eth0")
    lab.fabric.ip("link set port1 master underlay0")
    space.ip(f"addr add {side.node.address}/24 dev eth0", "route add default via 192.168.50.254")
    wait_for(side.whole, "traffic", timeout_s=PATIENCE_S, also=side.node.log_tail)
    assert side.node.subnet == subnet
    for kind in ("routes", "neighbours", "fdb", "nft"):
        assert side.picture()[kind] == before[kind]
