"""What `make bench` found: medians and ratios, the closing table, the closing line.

A run that was cut short, or a part of it that failed, leaves less than all of it: what is missing is a "-".
"""

import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from e2e.bench_bare import Floor
from e2e.bench_cold import Cold
from e2e.bench_events import Events, Storm
from e2e.bench_flanneld import Flanneld, as_words
from e2e.bench_load import Idle
from e2e.bench_path import Costs
from e2e.bench_resync import Resync
from e2e.bench_traffic import Rates, ratios
from e2e.bench_ways import DIRECT, HAND, OURS, PAIRS, UNDERLAY, Traffic

OUT = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(slots=True)
class Found:
    """Everything measured, by number of leases where there are several. Times in seconds."""

    peers: int
    cold: dict[int, list[Cold]] = field(default_factory=dict)
    floor: dict[int, list[Floor]] = field(default_factory=dict)
    one_scope: dict[int, list[Floor]] = field(default_factory=dict)
    """The bare messages once more, with routes as flannel writes them."""
    pyroute2: dict[int, list[float]] = field(default_factory=dict)
    flanneld: Flanneld = field(default_factory=Flanneld)
    events: Events = field(default_factory=Events)
    storm: Storm | None = None
    mended: list[float] = field(default_factory=list)
    repaired: dict[str, float | None] = field(default_factory=dict)
    idle: Idle | None = None
    resync: Resync | None = None
    traffic: Traffic = field(default_factory=Traffic)
    failed: list[str] = field(default_factory=list)
    """Parts that were not, or not wholly, measured, and why."""

    def programmed(self, count: int) -> float:
        """From leases known to the kernel holding all of them, median."""
        return statistics.median(it.programmed_s for it in self.cold[count])

    def floor_ratios(self, count: int) -> list[float]:
        """That, to the bare messages, round by round."""
        return [
            cold.programmed_s / bare.wall_s
            for cold, bare in zip(self.cold.get(count, []), self.floor.get(count, []), strict=False)
        ]

    def one_scope_ratios(self, count: int) -> list[float]:
        """The same to bare messages of one scope."""
        pairs = zip(self.cold.get(count, []), self.one_scope.get(count, []), strict=False)
        return [cold.programmed_s / bare.wall_s for cold, bare in pairs]

    def cpu_ratios(self, count: int) -> list[float]:
        """The same of CPU seconds: other programs on the machine are not in it, the agent's other threads are."""
        return [
            cold.cpu_s / bare.cpu_s
            for cold, bare in zip(self.cold.get(count, []), self.floor.get(count, []), strict=False)
        ]

    def pyroute2_ratio(self, count: int) -> float:
        """The same to pyroute2."""
        return self.programmed(count) / statistics.median(self.pyroute2[count])

    def flanneld_ratio(self, count: int) -> float:
        """Exec to done, ours to flanneld's."""
        theirs = statistics.median(it.done for it in self.flanneld.cold[count])
        return statistics.median(it.done for it in self.cold[count]) / theirs

    def write(self, path: Path) -> None:
        """All of it, as JSON."""
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
        temporary.replace(path)


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def known(figure: Callable[[], float], digits: int = 2) -> str:
    """A figure, or "-" where it, or one that it is made of, was not measured."""
    try:
        return f"{figure():.{digits}f}"
    except (IndexError, KeyError, ZeroDivisionError, statistics.StatisticsError):
        return "-"


def show(found: Found) -> None:
    """The table at the end."""
    table = Table(box=None, title="cold start, seconds", title_justify="left")
    for column in ("leases", "to process", "to leases known", "programmed", "exec to done"):
        table.add_column(column, justify="right")
    for column in ("bare messages", "ratio", "CPU ratio", "of one scope"):
        table.add_column(column, justify="right")
    for column in ("pyroute2", "ratio", "flanneld", "ratio"):
        table.add_column(column, justify="right")
    for count in found.cold:
        table.add_row(*_cold_row(found, count))
    OUT.print(table)
    for line in [*_changes(found), *_load(found), *_flanneld(found), *_traffic(found.traffic)]:
        OUT.print(line, markup=False, soft_wrap=True)
    for line in found.failed:
        OUT.print(f"not measured: {line}", style="red", markup=False, soft_wrap=True)


def _cold_row(found: Found, count: int) -> tuple[str, ...]:
    colds = found.cold[count]
    return (
        f"{count}",
        middle(it.started for it in colds),
        middle(it.known for it in colds),
        known(lambda: found.programmed(count)),
        middle(it.done for it in colds),
        middle(it.wall_s for it in found.floor.get(count, [])),
        middle(found.floor_ratios(count)),
        middle(found.cpu_ratios(count)),
        middle(it.wall_s for it in found.one_scope.get(count, [])),
        middle(found.pyroute2.get(count, [])),
        known(lambda: found.pyroute2_ratio(count)),
        middle(it.done for it in found.flanneld.cold.get(count, [])),
        known(lambda: found.flanneld_ratio(count)),
    )


def result(found: Found) -> str:
    """The closing line."""
    rates, idle, peers = found.traffic.rates, found.idle, found.peers
    figures = {
        "cold_s": known(lambda: statistics.median(it.done for it in found.cold[peers])),
        "cold_floor_ratio": known(lambda: statistics.median(found.floor_ratios(peers))),
        "cold_pyroute2_ratio": known(lambda: found.pyroute2_ratio(peers)),
        "join_p99_ms": known(lambda: percentile(found.events.join, 0.99) * 1e3, 1),
        "rss_mb": f"{idle.rss_mb:.1f}" if idle else "-",
        "idle_cpu_pct": f"{idle.cpu_pct:.2f}" if idle else "-",
        "tcp_ratio": known(lambda: statistics.median(ratios(rates[OURS].tcp, rates[HAND].tcp))),
        "udp_ratio": known(lambda: statistics.median(ratios(rates[OURS].udp, rates[HAND].udp))),
        "direct_ratio": known(
            lambda: statistics.median(ratios(rates[DIRECT].tcp, rates[UNDERLAY].tcp))
        )
        if found.traffic.direct
        else "-",
        "idle_wakeups_s": f"{idle.wakeups_s:.1f}" if idle else "-",
        "idle_bare_pct": f"{idle.bare_pct:.2f}" if idle else "-",
        "cold_one_scope_ratio": known(lambda: statistics.median(found.one_scope_ratios(peers))),
    }
    words = " ".join(f"{name}={figure}" for name, figure in figures.items())
    return f"RESULT bench peers={peers} {words}"


def _changes(found: Found) -> list[str]:
    lines = _events(found.events, found.storm, f" among {found.peers}")
    if found.mended:
        lines.append(f"routes deleted by hand: all there again after {middle(found.mended)} s")
    if found.repaired:
        lines.append(f"one of each deleted by hand, there again after: {as_words(found.repaired)}")
    return lines


def _events(events: Events, storm: Storm | None, among: str) -> list[str]:
    lines = []
    for name in ("join", "mac", "leave"):
        times: list[float] = getattr(events, name)
        if times:
            shown = ", ".join(
                f"{word} {percentile(times, share) * 1e3:.1f}"
                for word, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
            )
            lines.append(f"one {name}{among}, put acknowledged to kernel, ms: {shown}")
    if events.cpu_s:
        lines.append(f"  CPU for one change: {events.cpu_s * 1e3:.2f} ms")
    if storm:
        lines.append(
            f"joins at once: written in {storm.written_s:.2f} s, the kernel has all "
            f"{storm.after_last_s * 1e3:.0f} ms after the last; CPU {storm.cpu_s:.2f} s"
        )
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


def _flanneld(found: Found) -> list[str]:
    """The same of flanneld."""
    it = found.flanneld
    lines = [
        f"flanneld, {count} leases: {starts[-1].reads} reads of etcd until done"
        for count, starts in it.cold.items()
        if starts
    ]
    lines += [f"flanneld, {line.strip()}" for line in _events(it.events, it.storm, "")]
    if it.old_entries is not None:
        lines.append(
            f"flanneld, reads of etcd for one change: {it.reads_per_change:.2f}; "
            f"FDB entries of old MACs left: {it.old_entries}"
        )
    if it.idle:
        lines.append(
            f"flanneld, one of each deleted by hand, there again within {it.idle.seconds:.0f} s: "
            f"{as_words(it.repaired)}"
        )
        lines.append(
            f"flanneld, idle: {it.idle.cpu_pct:.2f} % of a core, the programs it runs "
            f"{it.idle.children_pct:.2f} %; memory {it.idle.rss_mb:.1f} MB"
        )
    return lines


def _traffic(traffic: Traffic) -> list[str]:
    names = list({**traffic.costs, **traffic.rates})
    lines = [_way(traffic, name) for name in names]
    return lines + [_compared(traffic, one, other) for one, other in PAIRS if names]


def _way(traffic: Traffic, name: str) -> str:
    rates, costs = traffic.rates, traffic.costs
    small = known(lambda: statistics.median(costs[name].small), 0)
    large = known(lambda: statistics.median(costs[name].large), 0)
    tcp = known(lambda: statistics.median(rates[name].tcp) / 1e9)
    udp = known(lambda: statistics.median(rates[name].udp) / 1e3, 0)
    return (
        f"{name:21} one packet: small {small} ns, of 56 kB {large} ns; iperf3: TCP {tcp} Gbit/s, "
        f"small UDP {udp} k packets/s"
    )


def compared(traffic: Traffic, one: str, other: str) -> dict[str, list[float]]:
    """One way to the other, round by round: what a packet costs, and what arrives."""
    rates, costs = traffic.rates, traffic.costs
    a, b, c, d = (
        costs.get(one, Costs()),
        costs.get(other, Costs()),
        rates.get(one, Rates()),
        rates.get(other, Rates()),
    )
    return {
        "small packet": ratios(a.small, b.small),
        "large": ratios(a.large, b.large),
        "TCP": ratios(c.tcp, d.tcp),
        "UDP": ratios(c.udp, d.udp),
    }


def _compared(traffic: Traffic, one: str, other: str) -> str:
    found = compared(traffic, one, other)
    words = ", ".join(f"{word} {middle(values)}" for word, values in found.items())
    note = "" if traffic.direct or one != DIRECT else " (the route is NOT direct)"
    return f"{one} / {other}: {words}{note}"


def middle(values: Iterable[float]) -> str:
    """The median, or "-"."""
    return known(lambda: statistics.median(values))
