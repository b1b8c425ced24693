"""The benchmark of the whole agent runs as it says, however small, and leaves nothing behind."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.bench_ear import NEW_NEIGH, NEW_ROUTE, Ear
from e2e.lab import MEMORY
from e2e.netns import NETNS_DIR, Namespace, remove
from e2e.process import CommandFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
SMALL = (
    *("--peers", "40", "--sizes", "40", "60", "--rounds", "1", "--events", "3", "--storm", "10"),
    *("--damaged", "5", "--idle", "1", "--traffic", "0"),
)


def test_a_small_run_ends_with_its_line_and_leaves_nothing(tmp_path: Path) -> None:
    """Exit code 0, every figure in the closing line and the file, no namespace and no directory left."""
    page = tmp_path / "figures.json"

    ran = subprocess.run(
        [sys.executable, "-m", "e2e.bench", *SMALL, "--json", str(page)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    names = (
        *("cold_s", "cold_floor_ratio", "cold_pyroute2_ratio", "join_p99_ms", "rss_mb"),
        *("idle_cpu_pct", "tcp_ratio", "udp_ratio", "direct_ratio"),
        *("idle_wakeups_s", "idle_bare_pct"),
    )
    words = " ".join(rf"{name}=\d+\.\d+" for name in names)
    assert re.fullmatch(f"RESULT bench peers=40 {words}", ran.stdout.splitlines()[-1])
    figures = json.loads(page.read_text())
    assert [*figures["cold"]] == ["40", "60"]
    assert len(figures["events"]["mac"]) == 3
    assert figures["idle"]["wakeups_s"] > 0
    assert figures["idle"]["bare_pct"] > 0
    (lab,) = {*re.findall(r"overlay-lab-([0-9a-f]+)", ran.stdout)}
    assert not list(MEMORY.glob(f"*{lab}*"))
    assert not list(NETNS_DIR.glob(f"*{lab}*"))


def test_its_ear_hears_what_ip_does() -> None:
    """A route and a neighbour, and says so if something does not come."""
    space = Namespace("ovl-test-ear")
    try:
        space.create()
        space.ip("link add a0 type veth peer name b0", "link set a0 up", "link set b0 up")
        with Ear(space) as ear:
            space.ip(
                "route add 10.9.0.0/24 dev a0", "neigh add 10.9.0.1 lladdr 02:00:00:00:00:09 dev a0"
            )
            ear.wait([(NEW_ROUTE, "10.9.0.0/24"), (NEW_NEIGH, "10.9.0.1")], timeout_s=5)
            with pytest.raises(CommandFailed, match="not within"):
                ear.wait([(NEW_ROUTE, "10.8.0.0/24")], timeout_s=0.05)
    finally:
        remove(space.name)
