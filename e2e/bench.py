"""`make bench`: the kernel side with thousands of peers, each figure beside what it is to be compared with.

The real agent, a real etcd, a real kernel, in namespaces of their own. What is compared is measured in turn in one
run; on a shared machine the ratios mean something, the seconds little. Ends with a table and one RESULT line; all
of it goes to a file as JSON. Budgets: docs/performance.md. Exit code 1 if something failed, never for a ratio.
"""

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from e2e import bench_bare, bench_cold, bench_events, bench_flanneld, bench_load, bench_ways
from e2e.bench_cold import Cold
from e2e.bench_records import CONFIG, Records, SimPeer
from e2e.bench_report import OUT, Found, result, show
from e2e.bench_resync import resync
from e2e.etcdserver import CONFIG_KEY
from e2e.lab import MEMORY, Lab
from e2e.node import Node
from e2e.process import CommandFailed

BEGUN = time.monotonic()
SLOW_PEERS = 5000
"""pyroute2 one by one is asked for no more than that: it takes a second per thousand, and more for each further."""


def say(text: str) -> None:
    """A line of progress."""
    OUT.print(f"{time.monotonic() - BEGUN:6.1f} s  {text}", markup=False, soft_wrap=True)


class Bench:
    """The phases on the kernel side, in one lab; the figures go into ``found``."""

    def __init__(self, lab: Lab, flags: argparse.Namespace) -> None:
        self.found = Found(flags.peers)
        self._lab, self._flags = lab, flags
        self._records = Records(lab.fabric, lab.etcd.url, lab.work / "records.log")
        lab.clients.append(self._records)
        lab.record()
        self._seeded = self._count = 0
        self._node: Node | None = None

    def run(self) -> None:
        """Cold starts of all sizes, the one that counts last: its agent goes on."""
        sizes = sorted({*self._flags.sizes} - {self._flags.peers})
        for count in [*(it for it in sizes if it < self._flags.peers), self._flags.peers]:
            self._cold(count)
        assert self._node is not None
        self._events(self._node)
        self._load(self._node)
        self._resync()
        for count in (it for it in sizes if it > self._flags.peers):
            self._cold(count)

    def _cold(self, count: int) -> None:
        """All ways in turn; the last round's agent stays."""
        self._records.do("seed", self._seeded, count - self._seeded)
        self._seeded = count
        peers = [SimPeer(number) for number in range(count)]
        times = self.found.cold.setdefault(count, [])
        rounds = self._flags.rounds if count <= self._flags.peers else min(self._flags.rounds, 2)
        for number in range(rounds):
            self._retire()
            self._count += 1
            self._node, cold = bench_cold.cold_start(self._lab, f"n{self._count}", count)
            times.append(cold)
            self.found.floor.setdefault(count, []).append(bench_bare.floor(self._name("f"), peers))
            say(self._said(count, cold, self.found.floor[count][-1].wall_s))
            if number < 2 and count <= SLOW_PEERS:
                taken = bench_bare.one_by_one(self._name("p"), peers)
                self.found.pyroute2.setdefault(count, []).append(taken)
                say(f"{count} leases: pyroute2 one by one {taken:.2f} s")
        if self._flags.flanneld:
            taken = bench_flanneld.cold_start(
                self._lab, f"flanneld{count}", self._flags.flanneld, count
            )
            self.found.flanneld[count] = taken
            say(f"{count} leases: flanneld, from exec: {taken:.2f} s")

    def _events(self, node: Node) -> None:
        flags, first = self._flags, self._seeded
        say(f"{flags.events} joins, MAC changes and leaves among {first}, one at a time")
        self.found.events = bench_events.singly(
            node, self._records, first=first, count=flags.events
        )
        self.found.storm = bench_events.storm(node, self._records, first=first, count=flags.storm)
        say(f"{flags.storm} joins at once: {self.found.storm}")
        damaged = min(flags.damaged, first)
        self.found.mended = [
            bench_events.damage(node, first=turn * damaged % first, count=damaged)
            for turn in range(flags.rounds)
        ]
        say(f"{damaged} routes deleted by hand: there again after {self.found.mended[-1]:.2f} s")

    def _load(self, node: Node) -> None:
        say(f"idle for {self._flags.idle:.0f} s")
        self.found.idle = bench_load.idle(node, self._flags.idle)
        say(str(self.found.idle))

    def _resync(self) -> None:
        peers = [SimPeer(number) for number in range(self._flags.peers)]
        damaged = min(self._flags.damaged, len(peers))
        self.found.resync = resync(self._name("r"), peers, damaged=damaged)
        say(str(self.found.resync))

    def _retire(self) -> None:
        if self._node is not None:
            bench_cold.retire(self._lab, self._node)
            self._node = None

    def _name(self, kind: str) -> str:
        return f"ovl-{self._lab.id}-{kind}"

    @staticmethod
    def _said(count: int, cold: Cold, floor: float) -> str:
        return (
            f"{count} leases: process {cold.started:.2f} s, etcd {cold.known - cold.started:.2f} s, programmed "
            f"in {cold.programmed_s:.2f} s, done {cold.done:.2f} s after exec; bare messages {floor:.2f} s"
        )


def run(flags: argparse.Namespace) -> Found:
    """All of it."""
    with Lab(root=MEMORY) as lab:
        lab.etcd.start()
        lab.record()
        lab.etcd.ctl("put", CONFIG_KEY, CONFIG)
        say(f"etcd runs, state of all on {lab.work} (tmpfs)")
        bench = Bench(lab, flags)
        bench.run()
    if flags.traffic:
        with Lab(root=MEMORY) as lab:
            lab.etcd.start()
            lab.record()
            bench.found.rates, bench.found.direct = bench_ways.traffic(
                lab, rounds=flags.traffic, seconds=flags.seconds, say=say
            )
    return bench.found


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--peers", type=int, default=5000, help="of the closing line [%(default)s]")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[1000, 5000, 20000], help="of cold starts"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of cold starts [%(default)s]")
    parser.add_argument("--events", type=int, default=200, help="of each kind [%(default)s]")
    parser.add_argument("--storm", type=int, default=500, help="joins at once [%(default)s]")
    parser.add_argument("--damaged", type=int, default=100, help="entries [%(default)s]")
    parser.add_argument("--idle", type=float, default=132, help="seconds [%(default)s]")
    parser.add_argument("--traffic", type=int, default=7, help="rounds, 0: none [%(default)s]")
    parser.add_argument("--seconds", type=float, default=2, help="of each iperf3 [%(default)s]")
    parser.add_argument("--flanneld", type=Path, help="the program, to be measured as well")
    parser.add_argument("--json", type=Path, help="write all figures there")
    flags = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab is taken down then, too
    try:
        found = run(flags)
    except CommandFailed as error:
        OUT.print(f"failed: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    show(found)
    if flags.json:
        flags.json.write_text(json.dumps(asdict(found), indent=2) + "\n")
    print(result(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
