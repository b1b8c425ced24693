"""`make bench-cni`: the speed of our CNI plugin, interleaved with the reference bridge + host-local.

One run, one node, a real agent and etcd; every round exec's each side once, so that what disturbs the
machine disturbs both, and the ratios ours/reference mean something where the times alone do not. The
lab's files lie on a tmpfs for both sides, as /run is one on a real node. Exit code 1 if a call was refused,
an address was given twice or anything was left behind; never because of a ratio.
"""

import argparse
import json
import math
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from e2e.bench_sandbox import sandbox_times
from e2e.bench_sides import FRONTS, Side, installable, ours, theirs
from e2e.cri import CriFailed
from e2e.etcdserver import NETWORK, PREFIX
from e2e.hostile import Fault, Hostile
from e2e.lab import MEMORY, Lab
from e2e.node import Node
from e2e.plugin_exec import Attachment, one, together
from e2e.pods import CniFailed
from e2e.process import CommandFailed
from overlay.netlink.namespace import run_inside

PODS = 110
"""What a kubelet puts on a node at most, unless told otherwise."""
AT_ONCE = 40
WARM_UP = 3
BURSTS = 5
OUT = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(slots=True)
class Times:
    """Seconds of one side, in the order they were taken."""

    add: list[float] = field(default_factory=list)
    delete: list[float] = field(default_factory=list)
    delete_40: list[float] = field(default_factory=list)
    add_110: list[float] = field(default_factory=list)
    delete_110: list[float] = field(default_factory=list)
    sandbox: list[float] = field(default_factory=list)


class Broken(Exception):
    """Something that must not happen, whatever the speed."""


class Bench:
    """One run on one node; everything here happens inside the node's network namespace."""

    def __init__(self, lab: Lab, node: Node, sides: Sequence[Side]) -> None:
        self.sides = sides
        self.times = {side.name: Times() for side in sides}
        self._node, self._files = node, lab.work / "calls"
        self._files.mkdir()
        self._spaces = [lab.bare_pod(node).namespace.path for _ in range(PODS)]

    def singly(self, rounds: int) -> None:
        """ADD and DEL one at a time, each side once a round, in turning order."""
        for number in range(-WARM_UP, rounds):
            pods = {
                side.name: self._pod(side, number * len(self.sides) + place)
                for place, side in enumerate(self._turned(number))
            }
            for name, pod in pods.items():
                taken = one(pod, "ADD")
                if number >= 0:
                    self.times[name].add.append(taken)
            for name, pod in pods.items():
                taken = one(pod, "DEL")
                if number >= 0:
                    self.times[name].delete.append(taken)
        self._nothing_left()

    def burst(self, number: int) -> None:
        """Per side: 110 ADDs at once, as many DELs at once, and 40 DELs at once where no other pod is."""
        for side in self._turned(number):
            times = self.times[side.name]
            pods = [self._pod(side, place) for place in range(PODS)]
            times.add_110.append(together(pods, "ADD"))
            if len({pod.address for pod in pods}) != PODS:
                raise Broken(f"{side.name} gave an address twice")
            times.delete_110.append(together(pods, "DEL"))
            self._nothing_left()
            few = [self._pod(side, place) for place in range(AT_ONCE)]
            together(few, "ADD")
            times.delete_40.append(together(few, "DEL"))
            self._nothing_left()

    def _pod(self, side: Side, number: int) -> Attachment:
        return Attachment(side, self._spaces[number % PODS], self._files)

    def _turned(self, number: int) -> Sequence[Side]:
        turn = number % len(self.sides)
        return [*self.sides[turn:], *self.sides[:turn]]

    def _nothing_left(self) -> None:
        for side in self.sides:
            if left := side.leftovers():
                raise Broken(f"{side.name} still holds {', '.join(left[:5])}")
        if records := sorted((self._node.run_dir / "attachments").glob("*/*.json")):
            raise Broken(f"{len(records)} attachments are still recorded, as {records[0].name}")
        links = self._node.namespace.query("link", "show", "type", "veth")
        if left := [link["ifname"] for link in links if link["ifname"] != "eth0"]:
            raise Broken(f"links are left on the node: {', '.join(left[:5])}")


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def run_bench(lab: Lab, flags: argparse.Namespace) -> Bench:
    """The lab, then all that is measured in it."""
    node = start(lab)
    sides = [*(ours(node, front) for front in flags.fronts), theirs(node, mtu=1450)]
    bench = Bench(lab, node, sides)
    say(f"{PODS} pods' namespaces; state of all sides on {lab.work} (tmpfs)")
    run_inside(node.namespace.path, lambda: bench.singly(flags.rounds))
    for side in sides:
        times = bench.times[side.name]
        say(
            f"{side.name}: ADD {ms(times.add)} ms, DEL {ms(times.delete)} ms (p50 of {flags.rounds})"
        )
    for number in range(flags.bursts):
        run_inside(node.namespace.path, lambda n=number: bench.burst(n))  # type: ignore[misc]
        shown = ", ".join(
            f"{side.name} {bench.times[side.name].add_110[-1]:.2f} s and "
            f"{bench.times[side.name].delete_40[-1] * 1e3:.0f} ms"
            for side in sides
        )
        say(
            f"burst {number + 1} of {flags.bursts}: {PODS} ADDs and {AT_ONCE} DELs at once: {shown}"
        )
    if flags.sandboxes:
        chains = [sides[0], sides[-1]]
        for name, taken in sandbox_times(lab, node, chains, rounds=flags.sandboxes).items():
            bench.times[name].sandbox = taken
            say(f"{name}: RunPodSandbox {ms(taken)} ms (p50 of {flags.sandboxes})")
    return bench


def start(lab: Lab) -> Node:
    """etcd, a network, and one node that is ready."""
    lab.etcd.start()
    lab.record()
    lab.etcd.ctl("put", f"{PREFIX}/config", NETWORK)
    node = lab.add_node("n1")
    lab.start_nodes(node)
    return node


def ms(values: Sequence[float]) -> str:
    """The median in milliseconds."""
    return f"{statistics.median(values) * 1e3:.1f}"


def ratios(mine: Times, reference: Times) -> dict[str, float]:
    """What the closing line says, ours/reference."""
    found = {
        "add_p50_ratio": percentile(mine.add, 0.5) / percentile(reference.add, 0.5),
        "add_p99_ratio": percentile(mine.add, 0.99) / percentile(reference.add, 0.99),
        "del_p50_ratio": percentile(mine.delete, 0.5) / percentile(reference.delete, 0.5),
        "del40_ratio": statistics.median(mine.delete_40) / statistics.median(reference.delete_40),
        "add110_throughput_ratio": statistics.median(reference.add_110)
        / statistics.median(mine.add_110),
    }
    if mine.sandbox and reference.sandbox:
        found["sandbox_p50_ratio"] = percentile(mine.sandbox, 0.5) / percentile(
            reference.sandbox, 0.5
        )
    return found


def show(bench: Bench) -> None:
    """The closing table."""
    table = Table(title="exec to exit, milliseconds", box=None, title_justify="left")
    columns = ("side", "ADD p50", "p99", "DEL p50", "p99", f"{AT_ONCE} DELs", f"{PODS} ADDs")
    for column in (*columns, "pods/s", f"{PODS} DELs", "RunPodSandbox p50"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for name, times in bench.times.items():
        table.add_row(
            name,
            *(f"{percentile(times.add, share) * 1e3:.2f}" for share in (0.5, 0.99)),
            *(f"{percentile(times.delete, share) * 1e3:.2f}" for share in (0.5, 0.99)),
            *(ms(values) for values in (times.delete_40, times.add_110)),
            f"{PODS / statistics.median(times.add_110):.0f}",
            ms(times.delete_110),
            ms(times.sandbox) if times.sandbox else "-",
        )
    OUT.print(table)


def close(bench: Bench, flags: argparse.Namespace, hostile: Hostile) -> None:
    """Table, JSON and the two lines at the end."""
    show(bench)
    reference = bench.times["reference"]
    by_front = {front: ratios(bench.times[f"ours/{front}"], reference) for front in flags.fronts}
    first = by_front[flags.fronts[0]]
    if flags.json:
        page = {
            "ratios": by_front,
            "seconds": {
                name: {kind: getattr(times, kind) for kind in Times.__slots__}
                for name, times in bench.times.items()
            },
            "hostile_inputs": hostile.fed,
        }
        flags.json.write_text(json.dumps(page, indent=2) + "\n")
    medians = " ".join(
        f"{name}: add_p50_ms={percentile(times.add, 0.5) * 1e3:.2f} "
        f"del_p50_ms={percentile(times.delete, 0.5) * 1e3:.2f};"
        for name, times in bench.times.items()
    )
    python = f" add_p50_ratio_python={by_front['python']['add_p50_ratio']:.3f}"
    print(f"{medians} hostile_inputs={hostile.fed}{python if 'python' in by_front else ''}")
    print("RESULT bench-cni " + " ".join(f"{key}={value:.3f}" for key, value in first.items()))


def say(text: str) -> None:
    """A line of progress, with the time since the start."""
    OUT.print(f"{time.monotonic() - BEGUN:6.1f} s  {text}", markup=False, soft_wrap=True)


BEGUN = time.monotonic()


def survive(hostile: Hostile, count: int) -> bool:
    """Feed hostile inputs; True if one was too much. The times stand even then."""
    try:
        hostile.run(count)
    except Fault as error:
        OUT.print(f"failed: {error}", style="red", markup=False, soft_wrap=True)
        return True
    say(f"{hostile.fed} hostile inputs survived (seed {hostile.seed})")
    return False


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make bench-cni")
    parser.add_argument("--front", dest="fronts", action="append", choices=FRONTS)
    parser.add_argument(
        "--rounds", type=int, default=PODS, help="of single ADD and DEL [%(default)s]"
    )
    parser.add_argument("--bursts", type=int, default=BURSTS, help="[%(default)s]")
    parser.add_argument(
        "--sandboxes", type=int, default=30, help="0: without containerd [%(default)s]"
    )
    parser.add_argument("--hostile", type=int, default=100_000, help="inputs [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the hostile inputs [%(default)s]")
    parser.add_argument("--json", type=Path, help="write all times there")
    flags = parser.parse_args()
    flags.fronts = flags.fronts or installable()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab is taken down then, too
    try:
        with Lab(root=MEMORY) as lab:
            bench = run_bench(lab, flags)
            hostile = Hostile(lab, seed=flags.seed, say=say)
            fault = survive(hostile, flags.hostile)
    except (Broken, CniFailed, CommandFailed, CriFailed) as error:
        OUT.print(f"failed: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    close(bench, flags, hostile)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
