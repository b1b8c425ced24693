"""`make soak`: random faults of agents, kernels and an etcd cluster; nodes and pods that come and go.

Bounded by --minutes: first with three nodes, then a mesh of twenty. Pings between all pods run all the time, and each
lost one counts, also between two faults, but for those of a node whose own kernel state was just deleted, until it is
mended. After each fault, once all is settled and each pair of pods has an answer again: no subnet twice in etcd, no
address twice among pods, `overlayctl plan` empty on every node, and every kernel holds what etcd says. Ends with one
RESULT line; exit code 1 if anything was lost, leased twice, or did not settle.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from e2e import leasebook
from e2e.cluster import Cluster
from e2e.lab import MEMORY, Lab
from e2e.node import Node
from e2e.pinger import INTERVAL_S, Window
from e2e.process import CommandFailed
from e2e.soakfaults import Faults
from e2e.stage import Stage
from overlay.errors import OverlayError

SETTLE_S = 90.0
FEW, MESH = 3, 20
"""Nodes to begin with. The mesh has 190 pairs of pods, each of which pings twice a second."""
MESH_SHARE = 0.3
"""Of the time, unless one size is asked for."""
MESH_PING_S, MOST_CLOSE = 0.5, 6
"""With more nodes than that; with fewer all pairs ping 20 times a second."""


@dataclass(slots=True)
class Tally:
    """What was counted; ``wrong`` holds one sentence for each thing that must not be."""

    faults: int = 0
    double: int = 0
    unsettled: int = 0
    wrong: list[str] = field(default_factory=list)

    def line(self, minutes: float, pings: Window) -> str:
        """The RESULT."""
        return (
            f"RESULT soak minutes={minutes:.1f} faults={self.faults} pings={pings.sent} "
            f"lost={pings.lost} double_leases={self.double} unsettled={self.unsettled}"
        )

    def code(self, pings: Window) -> int:
        """The exit code."""
        return 1 if self.wrong or pings.lost else 0


class Soak:
    """Does faults one by one, and judges after each. ``flow_s`` is how long the pings have to come back."""

    def __init__(
        self,
        stage: Stage,
        *,
        settle_s: float = SETTLE_S,
        flow_s: float = SETTLE_S,
        tally: Tally | None = None,
    ) -> None:
        self.stage, self.tally = stage, tally or Tally()
        self._settle_s, self._flow_s = settle_s, flow_s

    def once(self, fault: Callable[[Node], None], node: Node, *, without: tuple[str, ...]) -> str:
        """One fault and all that must hold after it; returns what became of it."""
        self.tally.faults += 1
        begun = time.monotonic()
        with self.stage.pings.window(without=without, seamless=True) as window:
            try:
                fault(node)
                acted = time.monotonic()
                self.stage.news(timeout_s=self._settle_s)  # so all before it has been heard, too
                self.stage.rest(timeout_s=self._settle_s)
                self.stage.pings.flow(timeout_s=self._flow_s)
            except (CommandFailed, OverlayError) as error:
                acted = time.monotonic()
                self.tally.unsettled += 1
                self.tally.wrong.append(f"did not settle: {error}")
            settled = time.monotonic()
        if window.lost:
            self.tally.wrong.append(f"pings lost: {window.gaps}")
        self.judge()
        return (
            f"{acted - begun:5.1f} s + {settled - acted:4.1f} s to settle, "
            f"{window.sent} pings, {window.lost} lost"
        )

    def judge(self) -> None:
        """No subnet and no address twice."""
        rows = leasebook.read(self.stage.ctl)
        doubles = leasebook.doubles(rows, self.stage.agents)
        self.tally.double += len(doubles)
        self.tally.wrong += doubles + leasebook.same_addresses(self.stage.lab.pods)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--nodes", type=int, help=f"only so many; else {FEW}, then {MESH}")
    parser.add_argument("--only", help="faults by name, separated by commas, to look into one")
    flags = parser.parse_args()
    print(f"seed {flags.seed}", flush=True)
    rng, most_s = random.Random(flags.seed), flags.seconds or flags.minutes * 60
    shares = {flags.nodes: 1.0} if flags.nodes else {FEW: 1 - MESH_SHARE, MESH: MESH_SHARE}
    tally, pings, begun = Tally(), Window(), time.monotonic()
    for nodes, share in shares.items():
        if not tally.unsettled:
            total = _lab(nodes, share * most_s, rng, tally, only=flags.only)
            pings.sent, pings.lost = pings.sent + total.sent, pings.lost + total.lost
    for text in tally.wrong:
        print(f"WRONG: {text}")
    print(tally.line((time.monotonic() - begun) / 60, pings), flush=True)
    return tally.code(pings)


def _lab(
    nodes: int, most_s: float, rng: random.Random, tally: Tally, *, only: str | None
) -> Window:
    """One lab for so long; the pings it has counted."""
    made = time.monotonic()
    with Lab(root=MEMORY) as lab:
        cluster = Cluster(lab)
        cluster.start()
        every_s = MESH_PING_S if nodes > MOST_CLOSE else INTERVAL_S
        soak = Soak(Stage(lab, cluster.ctl, ping_every_s=every_s), tally=tally)
        faults = Faults(soak.stage, cluster, rng, nodes=nodes)
        faults.begin()
        begun = time.monotonic()
        print(f"{nodes} nodes after {begun - made:.0f} s, pings each {every_s:g} s", flush=True)
        while time.monotonic() - begun < most_s and not tally.unsettled:
            _one(soak, faults, rng, only=only, since=begun)
        return soak.stage.pings.total


def _one(soak: Soak, faults: Faults, rng: random.Random, *, only: str | None, since: float) -> None:
    can = [it for it in faults.all() if not only or it.__name__ in only.split(",")]
    fault, node = rng.choice(can), rng.choice(soak.stage.agents)
    without = (node.name,) if fault.__name__ in faults.hurting else ()
    print(
        f"{time.monotonic() - since:6.1f} s  {fault.__name__:22} {node.name:4}", end="", flush=True
    )
    print(soak.once(fault, node, without=without), flush=True)


if __name__ == "__main__":
    sys.exit(main())
