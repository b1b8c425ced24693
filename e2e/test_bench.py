"""The benchmark of the whole agent runs as it says, however small, and leaves nothing behind."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e import bench_path
from e2e.bench_ear import DEL_ROUTE, NEW_NEIGH, NEW_ROUTE, Ear
from e2e.bench_path import Costs
from e2e.bench_traffic import Surrounding, Way, as_it_is
from e2e.lab import MEMORY
from e2e.netns import NETNS_DIR, Namespace, cable, remove
from e2e.process import CommandFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
SMALL = (
    *("--peers", "40", "--sizes", "40", "60", "--rounds", "1", "--events", "3", "--storm", "10"),
    *("--damaged", "5", "--idle", "2", "--traffic", "0"),
)


TRAFFIC = ("tcp_ratio", "udp_ratio", "direct_ratio")
FIGURES = (
    *("cold_s", "cold_floor_ratio", "cold_pyroute2_ratio", "join_p99_ms", "rss_mb"),
    *("idle_cpu_pct", *TRAFFIC, "idle_wakeups_s", "idle_bare_pct", "cold_one_scope_ratio"),
)


def _run(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "e2e.bench", *SMALL, "--json", str(page), *flags]
    return subprocess.run(words, check=False, capture_output=True, text=True)


def _figures(out: str) -> dict[str, str]:
    """The closing line's."""
    words = out.splitlines()[-1].split()
    assert words[:3] == ["RESULT", "bench", "peers=40"]
    found = dict(word.split("=") for word in words[3:])
    assert tuple(found) == FIGURES
    return found


def _leaves_nothing(out: str) -> None:
    """No directory, no namespace, no process of its lab."""
    (lab,) = {*re.findall(r"overlay-lab-([0-9a-f]+)", out)}
    assert not list(MEMORY.glob(f"*{lab}*"))
    assert not list(NETNS_DIR.glob(f"*{lab}*"))
    # Not the bare id: the ids of others' containers are as long as hexadecimal digits go.
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if f"-{lab}" in _words(path)]


def _words(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_a_small_run_ends_with_its_line_and_leaves_nothing(tmp_path: Path) -> None:
    """Exit code 0, every figure that was asked for in the closing line and the file."""
    page = tmp_path / "figures.json"

    ran = _run(page)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = _figures(ran.stdout)
    assert [found.pop(name) for name in TRAFFIC] == ["-"] * 3  # none was asked for
    assert all(re.fullmatch(r"\d+\.\d+", figure) for figure in found.values()), found
    figures = json.loads(page.read_text())
    assert [*figures["cold"]] == ["40", "60"]
    assert len(figures["events"]["mac"]) == 3
    assert [kind for kind, taken in figures["repaired"].items() if taken is None] == []
    assert figures["failed"] == []
    assert figures["idle"]["wakeups_s"] > 0
    assert figures["idle"]["bare_pct"] > 0
    _leaves_nothing(ran.stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_says_what_it_has_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    """In the middle of a part: the parts before it are printed and written, the rest is "-", exit code 1."""
    page = tmp_path / "figures.json"
    words = [sys.executable, "-m", "e2e.bench", *SMALL, "--idle", "600", "--json", str(page)]
    said = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for line in child.stdout:
            said.append(line)
            if "idle for 600 s" in line:
                before = page.read_text() if page.exists() else "{}"
                break
        child.send_signal(number)
        said += child.stdout
        code = child.wait()

    out = "".join(said)
    assert code == 1, out
    found = _figures(out)
    assert re.fullmatch(r"\d+\.\d+", found["cold_floor_ratio"]), found
    assert re.fullmatch(r"\d+\.\d+", found["join_p99_ms"]), found
    assert [found[name] for name in ("rss_mb", "idle_cpu_pct", "tcp_ratio")] == ["-"] * 3
    figures = json.loads(page.read_text())
    assert (
        figures["events"] == json.loads(before)["events"]
    )  # written after each part, for one who is killed
    assert len(figures["events"]["join"]) == 3
    assert figures["failed"] == [f"the rest: interrupted by {number.name}"]
    _leaves_nothing(out)


def test_a_part_that_fails_takes_nothing_from_the_others(tmp_path: Path) -> None:
    """A flanneld that ends at once: said, noted, exit code 1, and all else is measured."""
    page = tmp_path / "figures.json"

    ran = _run(page, "--flanneld", "/bin/false")

    assert ran.returncode == 1, ran.stdout + ran.stderr
    found = _figures(ran.stdout)
    assert [name for name, figure in found.items() if figure == "-"] == [*TRAFFIC]
    figures = json.loads(page.read_text())
    parts = [line.partition(":")[0] for line in figures["failed"]]
    assert parts == ["flanneld, 40 leases", "flanneld", "flanneld, 60 leases"]
    _leaves_nothing(ran.stdout)


def test_flanneld_is_measured_where_it_is_given(
    tmp_path: Path, flanneld_program: Path | None
) -> None:
    """Its cold start, changes, repairs (it makes none) and cost; its records do not stay in the way of ours."""
    if flanneld_program is None:
        pytest.skip("no --flanneld: the program is not part of this repository")
    page = tmp_path / "figures.json"

    ran = _run(page, "--flanneld", str(flanneld_program), "--repair", "3")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(page.read_text())["flanneld"]
    assert [*found["cold"]] == ["40", "60"]
    assert found["cold"]["40"][0]["reads"] >= 2 * 40
    assert [len(found["events"][kind]) for kind in ("join", "mac", "leave")] == [3, 3, 3]
    assert found["repaired"] == {"neighbour": None, "FDB entry": None, "route": None}
    assert found["old_entries"] == 3
    assert found["idle"]["rss_mb"] > 1
    _leaves_nothing(ran.stdout)


def test_the_cost_of_a_packet_is_that_of_its_whole_way() -> None:
    """Both sizes, for each way; the packets reach the other side's rules; the cores are given back."""
    left, right = (Namespace(f"ovl-{secrets.token_hex(3)}-path{number}") for number in (1, 2))
    cores, costs, passed = os.sched_getaffinity(0), dict[str, Costs](), list[int]()
    try:
        for space in (left, right):
            space.create()
        cable(left, "eth0", right, "eth0")
        left.ip("addr add 192.0.2.1/24 dev eth0")
        right.ip("addr add 192.0.2.2/24 dev eth0")
        chain = "type filter hook input priority 0; policy accept;\nip protocol udp counter"

        def ruled() -> Surrounding:
            text = f"table inet t {{\nchain c {{\n{chain}\n}}\n}}\n"
            assert right.run(["nft", "-f", "-"], stdin=text).code == 0
            yield
            passed.append(
                int(right.must("nft", "list", "table", "inet", "t").split("packets ")[1].split()[0])
            )
            right.must("nft", "delete", "table", "inet", "t")

        ways = [
            Way("bare", left, right, "192.0.2.2", as_it_is),
            Way("ruled", left, right, "192.0.2.2", ruled),
        ]
        bench_path.measure(ways, costs, rounds=3, say=print)
    finally:
        remove(left.name)
        remove(right.name)

    assert os.sched_getaffinity(0) == cores
    assert [(len(it.small), len(it.large)) for it in costs.values()] == [(3, 3), (3, 3)]
    assert len(passed) == 3
    assert all(passed), passed


def test_its_ear_hears_what_ip_does() -> None:
    """A route and a neighbour, and says so if something does not come; what is made again counts from then."""
    space = Namespace(f"ovl-{secrets.token_hex(3)}-ear")
    try:
        space.create()
        space.ip("link add a0 type veth peer name b0", "link set a0 up", "link set b0 up")
        with Ear(space) as ear:
            space.ip(
                "route add 10.9.0.0/24 dev a0", "neigh add 10.9.0.1 lladdr 02:00:00:00:00:09 dev a0"
            )
            ear.wait([(NEW_ROUTE, "10.9.0.0/24"), (NEW_NEIGH, "10.9.0.1")], timeout_s=20)
            with pytest.raises(CommandFailed, match="not within"):
                ear.wait([(NEW_ROUTE, "10.8.0.0/24")], timeout_s=0.05)
            space.ip("route del 10.9.0.0/24 dev a0", "route add 10.9.0.0/24 dev a0")
            gone = ear.wait([(DEL_ROUTE, "10.9.0.0/24")])
            assert ear.wait([(NEW_ROUTE, "10.9.0.0/24")]) >= gone
    finally:
        remove(space.name)
