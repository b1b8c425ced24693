"""The same by flanneld, the program itself, where `make bench FLANNELD=path` gives one.

The same records in the same etcd, the same end: the kernel holds a route, a neighbour and an FDB entry for each lease.
It runs with --ip-masq, as its packages have it: our agent masquerades as well.
"""

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2e import bench_events
from e2e.bench_ear import Ear
from e2e.bench_events import Events, Storm, Subject
from e2e.bench_load import cpu_s, rss_mb
from e2e.bench_records import Records
from e2e.flannel import key_of
from e2e.lab import Lab
from e2e.netns import Namespace, remove
from e2e.process import CommandFailed, Daemon
from overlay.netlink.namespace import run_inside

DEVICE = "flannel.1"
PATIENCE_S = 300
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from exec to the last route, and what it asked etcd for: Range and LeaseTimeToLive."""

    done: float
    reads: int


@dataclass(frozen=True, slots=True)
class Idle:
    """CPU in percent of a core: its own, and that of the programs it runs (iptables); memory in MB."""

    seconds: float
    cpu_pct: float
    children_pct: float
    rss_mb: float


@dataclass(slots=True)
class Flanneld:
    """What was measured; cold starts by number of leases."""

    cold: dict[int, list[Start]] = field(default_factory=dict)
    events: Events = field(default_factory=Events)
    reads_per_change: float | None = None
    storm: Storm | None = None
    old_entries: int | None = None
    """FDB entries that no peer has any more, after the changes of MACs."""
    repaired: dict[str, float | None] = field(default_factory=dict)
    idle: Idle | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A flanneld that holds all leases."""

    space: Namespace
    daemon: Daemon

    @property
    def subject(self) -> Subject:
        """It leaves the entry of an old MAC, see docs/flannel.md."""
        return Subject(self.space, DEVICE, lambda: cpu_s(self.daemon.pid), clean=False)


@contextmanager
def started(
    lab: Lab, name: str, program: Path, count: int, starts: list[Start]
) -> Iterator[Running]:
    """A flanneld on a new machine, until the kernel holds all of ``count`` leases; gone afterwards, its record too."""
    _, space = lab.add_machine(name)
    env, log = lab.work / f"{name}.env", lab.work / f"{name}.log"
    words = space.inside(
        [
            *(program, "-iface=eth0", "-ip-masq", f"-subnet-file={env}"),
            f"-etcd-endpoints={lab.etcd.url}",
        ]
    )
    before = _reads(lab)
    daemon: Daemon | None = None
    try:
        with Ear(space, routes_only=True) as ear:
            begun = time.monotonic()
            daemon = Daemon(f"flanneld {name}", words, log)
            lab.track(daemon)
            last = _all_routes(ear, daemon, count, log)
        if (held := held_by(space)) != (count, count, count):
            raise CommandFailed(f"{name} holds routes, neighbours, FDB entries {held}, not {count}")
        starts.append(Start(last - begun, _reads(lab) - before))
        yield Running(space, daemon)
    finally:
        if daemon is not None:
            daemon.end(
                signal.SIGKILL
            )  # nothing of it is looked at any more, and it may take a minute to end
        if env.exists():
            lab.etcd.ctl("del", key_of(_subnet(env)))
        remove(space.name)


def measure(
    lab: Lab, it: Running, records: Records, found: Flanneld, *, first: int, plan: "Plan"
) -> None:
    """One change at a time, many at once, what it repairs and what it costs meanwhile."""
    before = _reads(lab)
    bench_events.singly(it.subject, records, found.events, first=first, count=plan.events)
    found.reads_per_change = (_reads(lab) - before) / (3 * plan.events)
    routes, _, entries = held_by(it.space)
    found.old_entries = entries - routes
    # Others than those: the kernel does not tell of an entry that is made anew where it was left.
    found.storm = bench_events.storm(
        it.subject, records, first=first + plan.events, count=plan.storm
    )
    used, begun = _cpu(it.daemon.pid), time.monotonic()
    found.repaired = bench_events.repairs(it.subject, first=0, patience_s=plan.patience_s)
    time.sleep(max(begun + plan.patience_s - time.monotonic(), 0))
    passed, now = time.monotonic() - begun, _cpu(it.daemon.pid)
    own, children = (100 * (now[at] - used[at]) / passed for at in (0, 1))
    found.idle = Idle(passed, own, children, rss_mb(it.daemon.pid))


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes of each kind, joins at once, and how long a repair is waited for."""

    events: int
    storm: int
    patience_s: float


def held_by(space: Namespace) -> tuple[int, int, int]:
    """Routes by its device, PERMANENT neighbours, FDB entries with a destination."""
    routes = space.must("ip", "route", "show", "dev", DEVICE).splitlines()
    hops = space.must("ip", "neigh", "show", "dev", DEVICE, "nud", "permanent").splitlines()
    entries = space.must("bridge", "fdb", "show", "dev", DEVICE).splitlines()
    return len(routes), len(hops), len([line for line in entries if " dst " in line])


def _all_routes(ear: Ear, daemon: Daemon, count: int, log: Path) -> float:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            return ear.wait_routes(count, timeout_s=5)[1]
        except CommandFailed:
            if not daemon.alive:
                break
    raise CommandFailed(f"flanneld has not made {count} routes: {log.read_text()[-800:]}")


def _subnet(env: Path) -> str:
    """FLANNEL_SUBNET names the first address, the record the subnet."""
    (line,) = (it for it in env.read_text().splitlines() if it.startswith("FLANNEL_SUBNET="))
    address, _, length = line.partition("=")[2].partition("/")
    return f"{address.rpartition('.')[0]}.0/{length}"


def _reads(lab: Lab) -> int:
    """How often etcd has been asked for keys, or for what is left of a lease, by its own counters."""
    page = run_inside(lab.fabric.path, lambda: _page(f"{lab.etcd.url}/metrics"))
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in page.splitlines()
        if line.startswith("grpc_server_started_total{")
        and any(f'grpc_method="{it}"' in line for it in ("Range", "LeaseTimeToLive"))
    )


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def _cpu(pid: int) -> tuple[float, float]:
    """Its own CPU seconds, and those of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return cpu_s(pid), (int(words[13]) + int(words[14])) / _TICK


def as_words(repaired: dict[str, float | None]) -> str:
    """For a line."""
    return ", ".join(
        f"{kind} {'not' if taken is None else f'{taken:.2f} s'}" for kind, taken in repaired.items()
    )
