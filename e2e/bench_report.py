"""What `make bench` found: medians and ratios, the closing table, the closing line."""

import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from e2e.bench_bare import Floor
from e2e.bench_cold import Cold
from e2e.bench_events import Events, Storm
from e2e.bench_load import Idle
from e2e.bench_resync import Resync
from e2e.bench_traffic import Rates
from e2e.bench_ways import BARE_TABLES, DIRECT, HAND, HAND_DIRECT, OURS, UNDERLAY

OUT = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(slots=True)
class Found:
    """Everything measured, by number of leases where there are several. Times in seconds."""

    peers: int
    cold: dict[int, list[Cold]] = field(default_factory=dict)
    floor: dict[int, list[Floor]] = field(default_factory=dict)
    pyroute2: dict[int, list[float]] = field(default_factory=dict)
    flanneld: dict[int, float] = field(default_factory=dict)
    events: Events = field(default_factory=Events)
    storm: Storm | None = None
    mended: list[float] = field(default_factory=list)
    idle: Idle | None = None
    resync: Resync | None = None
    rates: dict[str, Rates] = field(default_factory=dict)
    direct: bool = False

    def programmed(self, count: int) -> float:
        """From leases known to the kernel holding all of them, median."""
        return statistics.median(it.programmed_s for it in self.cold[count])

    def floor_ratio(self, count: int) -> float:
        """That, to the bare messages; each round's own ratio, median."""
        pairs = zip(self.cold[count], self.floor[count], strict=True)
        return statistics.median(cold.programmed_s / bare.wall_s for cold, bare in pairs)

    def cpu_ratio(self, count: int) -> float:
        """The same of CPU seconds: other programs on the machine are not in it, the agent's other threads are."""
        pairs = zip(self.cold[count], self.floor[count], strict=True)
        return statistics.median(cold.cpu_s / bare.cpu_s for cold, bare in pairs)

    def pyroute2_ratio(self, count: int) -> float:
        """The same to pyroute2; 0 where that was not measured."""
        taken = self.pyroute2.get(count)
        return self.programmed(count) / statistics.median(taken) if taken else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def show(found: Found) -> None:
    """The table at the end."""
    table = Table(box=None, title="cold start, seconds", title_justify="left")
    for column in ("leases", "to process", "to leases known", "programming", "exec to done"):
        table.add_column(column, justify="right")
    for column in ("bare messages", "ratio", "CPU ratio", "pyroute2", "ratio", "flanneld"):
        table.add_column(column, justify="right")
    for count, colds in found.cold.items():
        slow = found.pyroute2.get(count)
        table.add_row(
            f"{count}",
            _median(it.started for it in colds),
            _median(it.known for it in colds),
            f"{found.programmed(count):.2f}",
            _median(it.done for it in colds),
            _median(it.wall_s for it in found.floor[count]),
            f"{found.floor_ratio(count):.2f}",
            f"{found.cpu_ratio(count):.2f}",
            _median(slow) if slow else "-",
            f"{found.pyroute2_ratio(count):.2f}" if slow else "-",
            f"{found.flanneld[count]:.1f}" if count in found.flanneld else "-",
        )
    OUT.print(table)
    for line in [*_events(found), *_load(found), *_traffic(found)]:
        OUT.print(line, markup=False, soft_wrap=True)


def result(found: Found) -> str:
    """The closing line."""
    rates = found.rates
    traffic = (
        (rates[OURS].tcp_to(rates[HAND]), rates[OURS].udp_to(rates[HAND])) if rates else (0.0, 0.0)
    )
    direct = rates[DIRECT].tcp_to(rates[UNDERLAY]) if rates and found.direct else 0.0
    idle = found.idle or Idle()
    done = statistics.median(it.done for it in found.cold[found.peers])
    return (
        f"RESULT bench peers={found.peers} cold_s={done:.2f} "
        f"cold_floor_ratio={found.floor_ratio(found.peers):.2f} "
        f"cold_pyroute2_ratio={found.pyroute2_ratio(found.peers):.2f} "
        f"join_p99_ms={percentile(found.events.join, 0.99) * 1e3:.1f} rss_mb={idle.rss_mb:.1f} "
        f"idle_cpu_pct={idle.cpu_pct:.2f} tcp_ratio={traffic[0]:.2f} udp_ratio={traffic[1]:.2f} "
        f"direct_ratio={direct:.2f} idle_wakeups_s={idle.wakeups_s:.1f} idle_bare_pct={idle.bare_pct:.2f}"
    )


def _events(found: Found) -> list[str]:
    lines = []
    for name in ("join", "mac", "leave"):
        times: list[float] = getattr(found.events, name)
        shown = ", ".join(
            f"{word} {percentile(times, share) * 1e3:.1f}"
            for word, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
        )
        lines.append(f"one {name:5} among {found.peers}, put acknowledged to kernel, ms: {shown}")
    lines.append(f"  the agent's CPU: {found.events.cpu_s * 1e3:.2f} ms for one change")
    if found.storm:
        it = found.storm
        lines.append(
            f"joins at once: written in {it.written_s:.2f} s, the kernel has all {it.after_last_s * 1e3:.0f} ms "
            f"after the last; the agent's CPU {it.cpu_s:.2f} s"
        )
    if found.mended:
        lines.append(f"routes deleted by hand: all there again after {_median(found.mended)} s")
    return lines


def _load(found: Found) -> list[str]:
    lines = []
    if found.resync:
        it = found.resync
        lines.append(
            f"full comparison: {it.nothing_s:.3f} s with nothing to do ({it.cpu_s:.3f} s of CPU), "
            f"{it.damaged_s:.3f} s with some to mend"
        )
    if found.idle:
        lines.append(
            f"idle for {found.idle.seconds:.0f} s: {found.idle.cpu_pct:.2f} % of a core, "
            f"{found.idle.wakeups_s:.1f} wakeups a second, which cost a bare thread {found.idle.bare_pct:.2f} %; "
            f"memory {found.idle.rss_mb:.1f} MB (at most {found.idle.peak_mb:.1f}); the agent's own full comparison "
            f"{found.idle.plan_s:.3f} s"
        )
    return lines


def _traffic(found: Found) -> list[str]:
    rates = found.rates
    if not rates:
        return []
    lines = [
        f"{name:20} TCP {statistics.median(it.tcp) / 1e9:5.2f} Gbit/s, small UDP "
        f"{statistics.median(it.udp) / 1e3:6.1f} k packets/s"
        for name, it in rates.items()
    ]
    for one, other in (
        (OURS, HAND),
        (OURS, BARE_TABLES),
        (DIRECT, UNDERLAY),
        (DIRECT, HAND_DIRECT),
    ):
        tcp, udp = rates[one].tcp_to(rates[other]), rates[one].udp_to(rates[other])
        note = "" if found.direct or one != DIRECT else " (the route is NOT direct)"
        lines.append(f"{one} / {other}: TCP {tcp:.2f}, UDP {udp:.2f}{note}")
    return lines


def _median(values: Iterable[float]) -> str:
    return f"{statistics.median(values):.2f}"
