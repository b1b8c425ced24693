"""From exec of the real agent to the kernel holding every peer, and where that time goes.

The agent is started on a node that knows nothing, beside an etcd that holds all the leases. What its log says is
stamped as it comes; the kernel tells its own part (e2e.bench_ear). At the end the kernel's tables are counted.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from e2e.bench_ear import Ear
from e2e.bench_load import cpu_s
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.process import CommandFailed

DEVICE = "overlay.1"
LOOK_EVERY_S = 0.002
MILESTONES = ("overlay-agent", "leases listed", "subnet ", "in sync")


@dataclass(frozen=True, slots=True)
class Cold:
    """One start; seconds since exec. ``known`` is when the leases were, and it was known who we are."""

    started: float
    known: float
    first_route: float
    done: float
    in_sync: float
    cpu_s: float
    """The agent's CPU seconds, all threads, from ``known`` to ``done``."""

    @property
    def programmed_s(self) -> float:
        """From leases known to the kernel holding all of them."""
        return self.done - self.known


class Lines:
    """Stamps a growing file's lines that hold one of ``marks``, the first of each: time, and CPU by ``cpu``."""

    def __init__(
        self, path: Path, cpu: Callable[[], float], marks: tuple[str, ...] = MILESTONES
    ) -> None:
        self.at: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._cpu = cpu
        self._path, self._marks = path, marks
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="lines", daemon=True)

    def __enter__(self) -> "Lines":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join(5)

    def _follow(self) -> None:
        place = self._path.stat().st_size if self._path.exists() else 0
        while not self._ending.wait(LOOK_EVERY_S):
            if not self._path.exists() or self._path.stat().st_size == place:
                continue
            now = time.monotonic()
            with self._path.open("rb") as file:
                file.seek(place)
                text = file.read()
            place += len(text)
            for mark in self._marks:
                if mark.encode() in text and mark not in self.at:
                    self.cpu[mark] = self._cpu()
                    self.at[mark] = now


def cold_start(lab: Lab, name: str, count: int) -> tuple[Node, Cold]:
    """A new node beside ``count`` leases; it runs on."""
    node = lab.add_node(name)
    with (
        Lines(node.log, lambda: cpu_s(node.pid)) as lines,
        Ear(node.namespace, routes_only=True) as ear,
    ):
        begun = time.monotonic()
        node.start_agent()
        lab.record()
        first, last = ear.wait_routes(count, timeout_s=120)
        used = cpu_s(node.pid)
        wait_for(lambda: "in sync" in lines.at, "in sync", timeout_s=60, also=node.log_tail)
        held = count_kernel(node)
        if held != (count, count, count):
            raise CommandFailed(f"{name} holds routes, neighbours, FDB entries {held}, not {count}")
        stamp = {mark: at - begun for mark, at in lines.at.items()}
    known = max(stamp["leases listed"], stamp["subnet "])
    used -= max(lines.cpu["leases listed"], lines.cpu["subnet "])
    in_sync = stamp["in sync"]
    return node, Cold(stamp["overlay-agent"], known, first - begun, last - begun, in_sync, used)


def count_kernel(node: Node) -> tuple[int, int, int]:
    """Routes by our protocol, PERMANENT neighbours, FDB entries with a destination."""
    routes = node.namespace.must("ip", "route", "show", "proto", "158").splitlines()
    neighbours = node.namespace.must(
        "ip", "neigh", "show", "dev", DEVICE, "nud", "permanent"
    ).splitlines()
    entries = node.namespace.must("bridge", "fdb", "show", "dev", DEVICE).splitlines()
    return len(routes), len(neighbours), len([line for line in entries if " dst " in line])


def retire(lab: Lab, node: Node) -> None:
    """The node and its record are gone, as if it had never been."""
    subnet = node.subnet
    lab.remove_node(node)
    lab.etcd.ctl("del", f"/coreos.com/network/subnets/{subnet.replace('/', '-')}")
