"""What `make bench` found goes to a file and comes back whole; a page made of less than all of it says so."""

from pathlib import Path

import pytest

from e2e import bench_page
from e2e.bench_bare import Floor
from e2e.bench_cold import Cold
from e2e.bench_events import Events, Storm
from e2e.bench_flanneld import Flanneld, Idle, Start
from e2e.bench_load import Idle as OurIdle
from e2e.bench_path import Costs
from e2e.bench_report import Found, result
from e2e.bench_resync import Resync
from e2e.bench_traffic import Rates
from e2e.bench_ways import DIRECT, HAND, OURS, UNDERLAY, Traffic


@pytest.fixture
def found() -> Found:
    """A whole run, in round numbers."""
    events = Events([0.001, 0.002], [0.001, 0.003], [0.001, 0.001], cpu_s=0.002)
    repaired = {"neighbour": 0.3, "FDB entry": 0.25, "route": 0.5}
    rates = {OURS: 9.0, HAND: 10.0, DIRECT: 8.0, UNDERLAY: 16.0}
    return Found(
        5000,
        cold={5000: [Cold(0.2, 0.5, 0.6, 1.5, 1.6, 1.2)] * 2},
        floor={5000: [Floor(0.5, 0.4), Floor(0.8, 0.4)]},
        one_scope={5000: [Floor(0.9, 0.8)]},
        pyroute2={5000: [10.0]},
        flanneld=Flanneld(
            cold={5000: [Start(4.0, 10007)]},
            events=events,
            reads_per_change=0.7,
            storm=Storm(0.5, 0.01, 0.3),
            old_entries=200,
            repaired=dict.fromkeys(repaired),
            idle=Idle(70.0, 0.1, 0.6, 42.0),
        ),
        events=events,
        storm=Storm(0.5, 0.002, 0.4),
        mended=[0.3, 0.4],
        repaired={**repaired},
        idle=OurIdle(
            cpu_pct=0.4,
            seconds=132.0,
            rss_mb=79.0,
            peak_mb=80.0,
            plan_s=0.1,
            wakeups_s=15.0,
            bare_pct=0.1,
        ),
        resync=Resync(0.05, 0.06, 0.03),
        traffic=Traffic(
            direct=True,
            rates={name: Rates([rate], [rate / 2]) for name, rate in rates.items()},
            costs={OURS: Costs([4000.0], [12000.0]), HAND: Costs([3200.0], [10000.0])},
        ),
    )


def test_the_file_holds_every_figure(found: Found, tmp_path: Path) -> None:
    """Written and read again, it is the same."""
    found.write(tmp_path / "bench.json")

    assert bench_page.load(tmp_path / "bench.json") == found


def test_the_closing_line_is_made_of_medians_of_ratios(found: Found) -> None:
    """Round by round, then the middle one."""
    assert result(found) == (
        "RESULT bench peers=5000 cold_s=1.50 cold_floor_ratio=1.62 cold_pyroute2_ratio=0.10 join_p99_ms=2.0 "
        "rss_mb=79.0 idle_cpu_pct=0.40 tcp_ratio=0.90 udp_ratio=0.90 direct_ratio=0.50 "
        "idle_wakeups_s=15.0 idle_bare_pct=0.10 cold_one_scope_ratio=1.11"
    )


def test_the_tables_have_the_spread_and_both_sides(found: Found) -> None:
    """From the least to the most of the rounds; flanneld's column says what it did not do."""
    text = bench_page.tables(found)

    assert "| 1.50 s: process 0.20, until leases known 0.50 |" in text
    assert "**1.62** (1.25–2.00)" in text
    assert (
        "bare, with routes of one scope, 0.90 s: **1.11** (1.11–1.11); pyroute2 one by one 10.00 s"
        in text
    )
    assert "| route deleted by hand, there again | 0.50 s | not within 70 s |" in text
    assert "| FDB entries of old MACs left | 0 | 200 |" in text
    assert f"| {OURS} / {HAND} | **1.25** (1.25–1.25) |" in text
    assert text.rstrip().splitlines()[-2] == result(found)


def test_a_run_cut_short_is_said_with_dashes(found: Found, tmp_path: Path) -> None:
    """Cold starts without the bare messages, or nothing at all."""
    nothing = Found(5000)
    assert result(nothing).count("=-") == 12
    found.floor.clear()
    found.traffic.rates.clear()
    found.idle = None
    found.write(tmp_path / "bench.json")

    assert "cold_floor_ratio=- cold_pyroute2_ratio=0.10" in result(found)
    assert "tcp_ratio=- udp_ratio=- direct_ratio=-" in bench_page.tables(found)
    assert "flanneld" not in bench_page.tables(nothing)
    bench_page.load(tmp_path / "bench.json")
