"""The etcd of `make bench-etcd`, alone in a namespace, and counters that are not ours: its /metrics and lo's bytes.

Every packet in that namespace is one between a node and etcd, so lo's counter is the bytes on the wire: IP and
TCP headers, acknowledgements, HTTP/2 pings and all. What the measuring itself sends is left out by the order of
the readings: /metrics before lo at the beginning, lo before /metrics at the end.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from e2e.netns import Namespace, remove
from e2e.process import CLEAN_ENVIRON, CommandFailed, Daemon, kill
from overlay.netlink.namespace import run_inside

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "/coreos.com/network"


@dataclass(frozen=True, slots=True)
class Reading:
    """All counters at one moment."""

    at: float
    wire: int
    metrics: dict[str, float]

    def sum(self, name: str, label: str = "") -> float:
        """Of all series of a metric whose labels contain a text."""
        return sum(
            value
            for series, value in self.metrics.items()
            if series.partition("{")[0] == name and label in series
        )


@dataclass(frozen=True, slots=True)
class Span:
    """What happened between two readings."""

    first: Reading
    last: Reading

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.last.at - self.first.at

    @property
    def wire(self) -> int:
        """Bytes, both directions."""
        return self.last.wire - self.first.wire

    def sum(self, name: str, label: str = "") -> float:
        """How much a metric grew."""
        return self.last.sum(name, label) - self.first.sum(name, label)

    def calls(self) -> dict[str, int]:
        """gRPC calls that were begun, by method; streams count once."""
        found: dict[str, int] = {}
        for series, value in self.last.metrics.items():
            if series.startswith("grpc_server_started_total{"):
                method = series.partition('grpc_method="')[2].partition('"')[0]
                grown = int(value - self.first.metrics.get(series, 0))
                if grown:
                    found[method] = found.get(method, 0) + grown
        return dict(sorted(found.items()))


class SimStore:
    """A namespace with one etcd in it; gone at the end of the with block."""

    def __init__(self, name: str, work: Path) -> None:
        self.space = Namespace(name)
        self._work = work
        self._daemon: Daemon | None = None

    def __enter__(self) -> "SimStore":
        self.space.create()
        try:
            self.start()
        except BaseException:
            remove(self.space.name)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        remove(self.space.name)

    def start(self) -> float:
        """With the data of last time, if there was one; returns when it began to serve."""
        peer = "http://127.0.0.1:2380"
        words = [
            *("etcd", "--name", "bench", "--data-dir", str(self._work / "etcd")),
            *("--listen-client-urls", "http://0.0.0.0:2379"),
            *("--advertise-client-urls", "http://127.0.0.1:2379"),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"bench={peer}"),
        ]
        log = self._work / "etcd.log"
        self._daemon = Daemon("etcd", self.space.inside(words), log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._daemon.alive:
            try:
                if b'"true"' in self._get("/health"):
                    return time.monotonic()
            except OSError:
                pass
            time.sleep(0.02)
        raise CommandFailed(f"etcd does not serve, see {log}: {log.read_text()[-500:]}")

    def kill(self) -> None:
        """SIGKILL."""
        if self._daemon is not None:
            kill(self._daemon.pid)
            self._daemon.end()
            self._daemon = None

    def opening(self) -> Reading:
        """The first reading of a span."""
        metrics = self._metrics()
        return Reading(time.monotonic(), self._wire(), metrics)

    def closing(self) -> Reading:
        """The last one."""
        wire, at = self._wire(), time.monotonic()
        return Reading(at, wire, self._metrics())

    def over(self, work: Callable[[], object]) -> Span:
        """The span of some work."""
        first = self.opening()
        work()
        return Span(first, self.closing())

    def _metrics(self) -> dict[str, float]:
        lines = self._get("/metrics").decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in pairs}

    def _wire(self) -> int:
        (lo,) = self.space.query("-s", "link", "show", "dev", "lo")
        return int(lo["stats64"]["rx"]["bytes"])

    def _get(self, path: str) -> bytes:
        def ask() -> bytes:
            door = http.client.HTTPConnection("127.0.0.1", 2379, timeout=10)
            try:
                door.request("GET", path)
                return door.getresponse().read()
            finally:
                door.close()

        return run_inside(self.space.path, ask)


class Crew:
    """The processes that hold the simulated nodes; each command goes to one or to all at once."""

    def __init__(self, space: Namespace, count: int, log: Path) -> None:
        words = space.inside([sys.executable, "-m", "e2e.simnodes", PREFIX])
        self._log = log.open("ab")
        self._workers = [
            subprocess.Popen(
                [str(word) for word in words],
                cwd=ROOT,
                env=CLEAN_ENVIRON,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
            for _ in range(count)
        ]

    def __len__(self) -> int:
        return len(self._workers)

    def all(self, *commands: dict[str, Any]) -> list[Any]:
        """One command to each (or the same to all); the answers."""
        rows = commands if len(commands) == len(self._workers) else commands * len(self._workers)
        for worker, command in zip(self._workers, rows, strict=True):
            assert worker.stdin
            worker.stdin.write(json.dumps(command) + "\n")
            worker.stdin.flush()
        return [self._answer(worker) for worker in self._workers]

    def one(self, command: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
        """A command to the first."""
        worker = self._workers[0]
        assert worker.stdin
        worker.stdin.write(json.dumps(command) + "\n")
        worker.stdin.flush()
        return self._answer(worker)

    def close(self) -> None:
        """End them all."""
        for worker in self._workers:
            worker.kill()
            worker.communicate()
        self._log.close()

    def _answer(self, worker: "subprocess.Popen[str]") -> Any:  # noqa: ANN401
        assert worker.stdout
        line = worker.stdout.readline()
        if not line:
            raise CommandFailed(f"a process of simulated nodes ended; see {self._log.name}")
        return json.loads(line)
