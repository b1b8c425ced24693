"""The tables of docs/performance.md, out of the file that `make bench` wrote: no figure is copied by hand.

.venv/bin/python -m e2e.bench_page bench.json                         # prints them
.venv/bin/python -m e2e.bench_page bench.json docs/performance.md     # puts them between the page's markers
"""

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from e2e.bench_bare import Floor
from e2e.bench_cold import Cold
from e2e.bench_events import PATIENCE_S, Events, Storm
from e2e.bench_flanneld import Flanneld, Start
from e2e.bench_flanneld import Idle as TheirIdle
from e2e.bench_load import Idle
from e2e.bench_path import Costs
from e2e.bench_report import Found, compared, known, middle, percentile, result
from e2e.bench_resync import Resync
from e2e.bench_traffic import Rates
from e2e.bench_ways import PAIRS, Traffic

BEGIN, END = "<!-- begin: e2e.bench_page -->", "<!-- end: e2e.bench_page -->"
Row = tuple[str, str, str]


def load(path: Path) -> Found:
    """What a run found."""
    page: dict[str, Any] = json.loads(path.read_text())
    theirs, traffic = page["flanneld"], page["traffic"]
    storm, their_storm, their_idle = page["storm"], theirs["storm"], theirs["idle"]
    return Found(
        page["peers"],
        cold={int(at): [Cold(**it) for it in all_] for at, all_ in page["cold"].items()},
        floor={int(at): [Floor(**it) for it in all_] for at, all_ in page["floor"].items()},
        one_scope={int(at): [Floor(**it) for it in all_] for at, all_ in page["one_scope"].items()},
        pyroute2={int(at): all_ for at, all_ in page["pyroute2"].items()},
        flanneld=Flanneld(
            cold={int(at): [Start(**it) for it in all_] for at, all_ in theirs["cold"].items()},
            events=Events(**theirs["events"]),
            reads_per_change=theirs["reads_per_change"],
            storm=Storm(**their_storm) if their_storm else None,
            old_entries=theirs["old_entries"],
            repaired=theirs["repaired"],
            idle=TheirIdle(**their_idle) if their_idle else None,
        ),
        events=Events(**page["events"]),
        storm=Storm(**storm) if storm else None,
        mended=page["mended"],
        repaired=page["repaired"],
        idle=Idle(**page["idle"]) if page["idle"] else None,
        resync=Resync(**page["resync"]) if page["resync"] else None,
        traffic=Traffic(
            traffic["direct"],
            {name: Rates(**it) for name, it in traffic["rates"].items()},
            {name: Costs(**it) for name, it in traffic["costs"].items()},
        ),
        failed=page["failed"],
    )


def tables(found: Found) -> str:
    """All of them, and the closing line."""
    parts = [
        *_table(("what", "budget", "found"), [*_cold(found), *_changes(found), *_load(found)]),
        "",
        *_table(("traffic", *_TRAFFIC), _traffic(found.traffic)),
        "",
        *_table((f"among {found.peers:,} leases", "ours", "flanneld"), [*_flanneld(found)]),
        "",
        "```",
        result(found),
        "```",
    ]
    return "\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows] if rows else []
    return [f"| {' | '.join(line)} |" for line in lines]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and from the least to the most of the rounds."""
    if not values:
        return "-"
    least, most = min(values), max(values)
    return f"**{statistics.median(values):.{digits}f}** ({least:.{digits}f}–{most:.{digits}f})"


def _cold(found: Found) -> Iterator[Row]:
    for count, colds in found.cold.items():
        done, started, told = (
            statistics.median(getattr(it, name) for it in colds)
            for name in ("done", "started", "known")
        )
        yield (
            f"{count:,} leases, exec to done",
            "",
            f"{done:.2f} s: process {started:.2f}, until leases known {told:.2f}",
        )
        bare = middle(it.wall_s for it in found.floor.get(count, []))
        slow = found.pyroute2.get(count)
        flat = middle(it.wall_s for it in found.one_scope.get(count, []))
        yield (
            "programming to bare messages",
            "≤ 1.5 at 5,000" if count == 5000 else "",
            f"{found.programmed(count):.2f} s to {bare} s: {spread(found.floor_ratios(count))}; "
            f"CPU {spread(found.cpu_ratios(count))}; bare, with routes of one scope, {flat} s: "
            f"{spread(found.one_scope_ratios(count))}; pyroute2 one by one "
            + (f"{middle(slow)} s" if slow else "not asked"),
        )


def _changes(found: Found) -> Iterator[Row]:
    budgets = {"join": "p99 ≤ 20 ms", "MAC change": "", "leave": ""}
    for (name, budget), times in zip(budgets.items(), _kinds(found.events), strict=True):
        yield (
            f"one {name} among {found.peers:,}, put acknowledged to kernel",
            budget,
            _percentiles(times),
        )
    yield "CPU for one change", "", f"{found.events.cpu_s * 1e3:.1f} ms"
    if it := found.storm:
        yield "joins at once", "within a second", f"{_stormed(it)}; {it.cpu_s:.2f} s of CPU"
    yield "routes deleted by hand, all there again", "a second", f"{spread(found.mended)} s"


def _load(found: Found) -> Iterator[Row]:
    if it := found.resync:
        yield (
            "full comparison, nothing to do / some routes gone",
            "",
            f"{it.nothing_s:.3f} s / {it.damaged_s:.3f} s",
        )
    if idle := found.idle:
        yield f"memory with {found.peers:,} peers", "≤ 80 MB", f"**{idle.rss_mb:.1f} MB**"
        yield (
            f"CPU idle, {idle.seconds:.0f} s",
            "≤ 0.5 % of a core",
            f"**{idle.cpu_pct:.2f} %**; as many wakeups ({idle.wakeups_s:.0f} a second) cost a bare thread "
            f"{idle.bare_pct:.2f} %",
        )


_TRAFFIC = (
    "one small packet's cost",
    "of 56 kB in one piece",
    "TCP (iperf3)",
    "small UDP (iperf3)",
)


def _traffic(traffic: Traffic) -> list[tuple[str, ...]]:
    """Costs: more than 1 is dearer. Rates: less than 1 is slower."""
    pairs = PAIRS if traffic.costs or traffic.rates else ()
    return [
        (f"{one} / {other}", *map(spread, compared(traffic, one, other).values()))
        for one, other in pairs
    ]


def _flanneld(found: Found) -> Iterator[Row]:
    it = found.flanneld
    if not it.cold:
        return  # no program was given
    for count, starts in it.cold.items():
        yield (
            f"cold start, {count:,} leases, exec to done; reads of etcd",
            f"{middle(one.done for one in found.cold.get(count, []))} s",
            f"{middle(one.done for one in starts)} s; {starts[-1].reads if starts else 0:,}",
        )
    names = ("one join", "one MAC change", "one leave")
    for name, ours, theirs in zip(names, _kinds(found.events), _kinds(it.events), strict=True):
        yield name, _percentiles(ours), _percentiles(theirs)
    if found.storm and it.storm:
        yield "joins at once", _stormed(found.storm), _stormed(it.storm)
    if it.idle and found.idle:
        yield from _at_rest(found, it, it.idle, found.idle)


def _at_rest(found: Found, it: Flanneld, theirs: TheirIdle, ours: Idle) -> Iterator[Row]:
    cpu = [f"{one.cpu_s * 1e3:.1f} ms" for one in (found.events, it.events)]
    yield "CPU for one change", cpu[0], cpu[1]
    yield "FDB entries of old MACs left", "0", f"{it.old_entries}"
    for kind, taken in found.repaired.items():
        back = _again(it.repaired.get(kind), theirs.seconds)
        yield f"{kind} deleted by hand, there again", _again(taken, PATIENCE_S), back
    programs = f"{theirs.cpu_pct:.2f} %, and {theirs.children_pct:.2f} % in iptables"
    yield "CPU idle", f"{ours.cpu_pct:.2f} %", programs
    yield "memory", f"{ours.rss_mb:.1f} MB", f"{theirs.rss_mb:.1f} MB"


def _kinds(events: Events) -> tuple[list[float], ...]:
    return events.join, events.mac, events.leave


def _percentiles(times: Sequence[float]) -> str:
    p50, p99 = (known(partial(_ms, times, share), 1) for share in (0.5, 0.99))
    return f"p50 {p50} ms, p99 {p99} ms"


def _ms(times: Sequence[float], share: float) -> float:
    return percentile(times, share) * 1e3


def _stormed(it: Storm) -> str:
    return f"written in {it.written_s:.2f} s, the kernel has all {it.after_last_s * 1e3:.0f} ms after the last"


def _again(taken: float | None, patience_s: float) -> str:
    return f"not within {patience_s:.0f} s" if taken is None else f"{taken:.2f} s"


def main() -> int:
    """Command line."""
    text = tables(load(Path(sys.argv[1])))
    if len(sys.argv) < 3:
        print(text, end="")
        return 0
    page = Path(sys.argv[2])
    before, _, rest = page.read_text().partition(BEGIN + "\n")
    _, found, after = rest.partition(END)
    if not found:
        print(f"{page} has no {BEGIN} … {END}", file=sys.stderr)
        return 1
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
