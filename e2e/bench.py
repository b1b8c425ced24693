"""`make bench`: the kernel side with thousands of peers, each figure beside what it is to be compared with.

The real agent, a real etcd, a real kernel, in namespaces of their own. What is compared is measured in turn in one
run; on a shared machine the ratios mean something, the seconds little. Ends with a table and one RESULT line; all
of it goes to a file as JSON, after each part. Budgets: docs/performance.md. Exit code 1 if a part failed or the run was
interrupted: what was measured until then is printed and written all the same. Never for a ratio.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from e2e import bench_bare, bench_cold, bench_events, bench_flanneld, bench_load, bench_ways
from e2e.bench_cold import Cold
from e2e.bench_events import PATIENCE_S
from e2e.bench_parts import Interrupted, Parts, interruptible, say, standing
from e2e.bench_records import CONFIG, Records, SimPeer
from e2e.bench_report import Found, result, show
from e2e.bench_resync import resync
from e2e.bench_traffic import Plan
from e2e.etcdserver import CONFIG_KEY
from e2e.lab import Lab
from e2e.node import Node
from e2e.process import CommandFailed

SLOW_PEERS = 5000
"""pyroute2 one by one is asked for no more than that: it takes a second per thousand, and more for each further."""
BIG_ROUNDS, FLANNELD_ROUNDS = 2, 3
"""Of cold starts with more leases than those of the closing line, and of flanneld's, which takes seconds."""


class Kernel:
    """The parts on the kernel side, in one lab; the figures go into ``found``."""

    def __init__(self, lab: Lab, flags: argparse.Namespace, found: Found, part: Parts) -> None:
        self._lab, self._flags, self._found, self._part = lab, flags, found, part
        self._records = Records(lab.fabric, lab.etcd.url, lab.work / "records.log")
        lab.clients.append(self._records)
        lab.record()
        self._seeded = self._count = 0
        self._running: Node | None = None

    def run(self) -> None:
        """Cold starts of all sizes; after the one that counts its agent goes on, and is looked at."""
        flags, part = self._flags, self._part
        sizes = sorted({*flags.sizes, flags.peers})
        for count in (it for it in sizes if it <= flags.peers):
            part(f"cold starts, {count} leases", self._cold, count)
        part("changes", self._changes)
        part("idle", self._idle)
        part("comparison", self._compare)
        if flags.flanneld:
            part("flanneld", self._flanneld)
        for count in (it for it in sizes if it > flags.peers):
            part(f"cold starts, {count} leases", self._cold, count)

    @property
    def _node(self) -> Node:
        if self._running is None:
            raise CommandFailed("no agent runs")
        return self._running

    def _cold(self, count: int) -> None:
        """All ways in turn; the last round's agent stays."""
        self._records.do("seed", self._seeded, count - self._seeded)
        self._seeded = count
        peers = [SimPeer(number) for number in range(count)]
        found, big = self._found, count > self._flags.peers
        for number in range(min(self._flags.rounds, BIG_ROUNDS) if big else self._flags.rounds):
            self._retire()
            if self._flags.flanneld and number < (1 if big else FLANNELD_ROUNDS):
                self._part(f"flanneld, {count} leases", self._flanneld_cold, count)
            self._count += 1
            self._running, cold = bench_cold.cold_start(self._lab, f"n{self._count}", count)
            found.cold.setdefault(count, []).append(cold)
            floor = bench_bare.floor(self._name("f"), peers)
            found.floor.setdefault(count, []).append(floor)
            flat = bench_bare.floor(self._name("s"), peers, one_scope=True)
            found.one_scope.setdefault(count, []).append(flat)
            say(f"{_said(count, cold, floor.wall_s)}, of one scope {flat.wall_s:.2f} s")
            if number < 2 and count <= SLOW_PEERS:
                taken = bench_bare.one_by_one(self._name("p"), peers)
                found.pyroute2.setdefault(count, []).append(taken)
                say(f"{count} leases: pyroute2 one by one {taken:.2f} s")

    def _flanneld_cold(self, count: int) -> None:
        starts = self._found.flanneld.cold.setdefault(count, [])
        name = f"flanneld{count}-{len(starts)}"
        with bench_flanneld.started(self._lab, name, self._flags.flanneld, count, starts):
            it = starts[-1]
        say(f"{count} leases: flanneld {it.done:.2f} s after exec, {it.reads} reads of etcd")

    def _flanneld(self) -> None:
        """One more start; this one runs on for as long as a repair is waited for, and ours does not."""
        flags, it = self._flags, self._found.flanneld
        self._retire()
        say(f"flanneld: the same changes, then {flags.repair:.0f} s with one of each deleted")
        plan = bench_flanneld.Plan(flags.events, flags.storm, flags.repair)
        starts = it.cold.setdefault(flags.peers, [])
        with bench_flanneld.started(
            self._lab, "flanneld", flags.flanneld, self._seeded, starts
        ) as running:
            bench_flanneld.measure(
                self._lab, running, self._records, it, first=self._seeded, plan=plan
            )
        say(f"flanneld: there again: {bench_flanneld.as_words(it.repaired)}; {it.idle}")

    def _changes(self) -> None:
        flags, first, found = self._flags, self._seeded, self._found
        say(f"{flags.events} joins, MAC changes and leaves among {first}, one at a time")
        agent = bench_events.agent(self._node)
        bench_events.singly(agent, self._records, found.events, first=first, count=flags.events)
        found.storm = bench_events.storm(
            agent, self._records, first=first + flags.events, count=flags.storm
        )
        say(f"{flags.storm} joins at once: {found.storm}")
        damaged = min(flags.damaged, first)
        for turn in range(flags.rounds):
            taken = bench_events.damage(self._node, first=turn * damaged % first, count=damaged)
            found.mended.append(taken)
        say(f"{damaged} routes deleted by hand: there again after {found.mended[-1]:.2f} s")
        found.repaired = bench_events.repairs(agent, first=0, patience_s=PATIENCE_S)

    def _idle(self) -> None:
        say(f"idle for {self._flags.idle:.0f} s")
        self._found.idle = bench_load.idle(self._node, self._flags.idle)
        say(str(self._found.idle))

    def _compare(self) -> None:
        peers = [SimPeer(number) for number in range(self._flags.peers)]
        damaged = min(self._flags.damaged, len(peers))
        self._found.resync = resync(self._name("r"), peers, damaged=damaged)
        say(str(self._found.resync))

    def _retire(self) -> None:
        """No agent of ours runs, not even one whose start failed."""
        running, self._running = self._running, None
        if running is not None:
            bench_cold.retire(self._lab, running)
        for node in list(self._lab.nodes.values()):
            try:
                bench_cold.retire(self._lab, node)
            except OSError:  # it never came to hold a subnet
                self._lab.remove_node(node)

    def _name(self, kind: str) -> str:
        return f"ovl-{self._lab.id}-{kind}"


def _said(count: int, cold: Cold, floor: float) -> str:
    return (
        f"{count} leases: process {cold.started:.2f} s, etcd {cold.known - cold.started:.2f} s, programmed "
        f"in {cold.programmed_s:.2f} s, done {cold.done:.2f} s after exec; bare messages {floor:.2f} s"
    )


def _kernel(flags: argparse.Namespace, found: Found, part: Parts) -> None:
    with standing() as lab:
        lab.etcd.ctl("put", CONFIG_KEY, CONFIG)
        say(f"etcd runs, state of all on {lab.work} (tmpfs)")
        Kernel(lab, flags, found, part).run()


def _traffic(flags: argparse.Namespace, found: Found) -> None:
    with standing() as lab:
        bench_ways.traffic(lab, found.traffic, Plan(flags.traffic, flags.seconds), say)


def run(flags: argparse.Namespace, found: Found) -> None:
    """All of it, or as much as goes."""
    write: Callable[[], None] = (lambda: found.write(flags.json)) if flags.json else lambda: None
    part = Parts(found.failed, write)
    try:
        with interruptible():
            part("kernel side", _kernel, flags, found, part)
            if flags.traffic:
                part("traffic", _traffic, flags, found)
    except Interrupted as error:
        found.failed.append(f"the rest: {error}")
        write()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--peers", type=int, default=5000, help="of the closing line [%(default)s]")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[1000, 5000, 20000], help="of cold starts"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        help=f"of cold starts, {BIG_ROUNDS} above --peers [%(default)s]",
    )
    parser.add_argument("--events", type=int, default=200, help="of each kind [%(default)s]")
    parser.add_argument("--storm", type=int, default=500, help="joins at once [%(default)s]")
    parser.add_argument("--damaged", type=int, default=100, help="entries [%(default)s]")
    parser.add_argument("--idle", type=float, default=132, help="seconds [%(default)s]")
    parser.add_argument("--traffic", type=int, default=7, help="rounds, 0: none [%(default)s]")
    parser.add_argument("--seconds", type=int, default=1, help="of each iperf3 [%(default)s]")
    parser.add_argument("--flanneld", type=Path, help="the program, to be measured as well")
    parser.add_argument(
        "--repair", type=float, default=70, help="seconds that flanneld is given [%(default)s]"
    )
    parser.add_argument("--json", type=Path, help="write all figures there")
    flags = parser.parse_args()
    found = Found(flags.peers)
    run(flags, found)
    show(found)
    print(result(found), flush=True)
    if any("interrupted" in it for it in found.failed):
        os._exit(
            1
        )  # a thread that still sends in a namespace of a lab's would keep us and it alive
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
