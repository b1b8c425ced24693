"""Several agents' data planes on one kernel, and what only one agent may have."""

import os
import subprocess
import sys
from collections.abc import Hashable, Iterator
from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from agent.sole import Sole
from overlay import rules
from overlay.dataplane import Dataplane
from overlay.errors import BadConfig
from overlay.marks import Marks
from overlay.model import (
    Bridge,
    FdbEntry,
    KernelObject,
    LinkAddress,
    Neighbour,
    Route,
    Ruleset,
    Vxlan,
)
from overlay.netlink.namespace import run_inside
from tests.contract.planes import settle
from tests.contract.spaces import difference, inside, ip, picture

pytestmark = pytest.mark.contract
FIRST, BLUE = Marks(), Marks("blue")
Objects = dict[Hashable, KernelObject]


def wanted(marks: Marks, net: int, vni: int) -> Objects:
    """A node's objects of every kind, one tunnelled peer, and one peer that is on the same link."""
    tunnel, mac, far = f"overlay.{vni}", f"02:00:00:00:00:0{vni}", f"02:00:00:00:01:0{vni}"
    cluster, own = ip_network(f"10.{net}.0.0/16"), ip_network(f"10.{net}.1.0/24")
    text = rules.render_inet(
        [(cluster, own)], masquerade=True, fully_random=True, table=marks.table
    )
    via, protocol = ip_address(f"10.{net}.2.0"), marks.route_protocol
    items: list[KernelObject] = [
        Vxlan(tunnel, mac, 1430, vni, 8472, ip_address("192.0.2.1"), "eth0"),
        Bridge(marks.bridge, f"0a:58:0a:0{net}:01:01", 1430),
        LinkAddress(tunnel, ip_interface(f"10.{net}.1.0/32")),
        LinkAddress(marks.bridge, ip_interface(f"10.{net}.1.1/24")),
        Ruleset(marks.table, text),
        FdbEntry(tunnel, far, ip_address("192.0.2.2")),
        Neighbour(tunnel, via, far),
        Route(ip_network(f"10.{net}.2.0/24"), via, tunnel, protocol=protocol),
        Route(
            ip_network(f"10.{net}.3.0/24"),
            ip_address("192.0.2.3"),
            "eth0",
            onlink=False,
            protocol=protocol,
        ),
    ]
    return {item.key: item for item in items}


WANTED = {FIRST: wanted(FIRST, 5, 1), BLUE: wanted(BLUE, 6, 2)}


@pytest.fixture
def host(space: Path) -> Path:
    """A machine with an underlay."""
    for words in (
        "link set lo up",
        "link add eth0 type veth peer name far0",
        "link set far0 up",
        "link set eth0 up",
        "addr add 192.0.2.1/24 dev eth0",
    ):
        ip(space, *words.split())
    return space


@pytest.fixture
def both(host: Path, tmp_path: Path) -> Iterator[dict[Marks, Dataplane]]:
    """Two data planes, settled."""
    made = {marks: run_inside(host, lambda m=marks: born(tmp_path, m)) for marks in WANTED}  # type: ignore[misc]
    with closing(made[FIRST]), closing(made[BLUE]):
        for marks in WANTED:
            settle(host, made[marks], WANTED[marks])
        yield made


def born(tmp_path: Path, marks: Marks) -> Dataplane:
    """One agent's, in the namespace of the thread."""
    return Dataplane(tmp_path / marks.name, marks=marks)


@pytest.mark.parametrize("marks", list(WANTED), ids=["first", "blue"])
def test_a_fresh_agent_finds_its_own_and_nothing_to_do(
    host: Path, both: dict[Marks, Dataplane], tmp_path: Path, marks: Marks
) -> None:
    """No memory but the kernel; the other's routes over the underlay have another protocol."""
    with closing(run_inside(host, lambda: born(tmp_path, marks))) as fresh:
        found = run_inside(host, lambda: fresh.read(WANTED[marks]))
        assert found == WANTED[marks]


@pytest.mark.parametrize("marks", list(WANTED), ids=["first", "blue"])
def test_one_takes_away_all_of_its_own_and_nothing_of_the_other(
    host: Path, both: dict[Marks, Dataplane], marks: Marks
) -> None:
    """It wants nothing any more: every kind of object goes (a table goes when it is told to)."""
    other = BLUE if marks == FIRST else FIRST
    run_inside(host, lambda: both[marks].read({}))
    settle(host, both[marks], {})
    assert run_inside(host, lambda: both[other].read(WANTED[other])) == WANTED[other]
    left = [line for line in steady(host) if f"{marks.name}:" in line]
    assert left == []


def steady(host: Path) -> list[str]:
    """What is configured there; link-local addresses the kernel makes and confirms by itself."""
    return [line for line in picture(host) if "fe80::" not in line]


STALE = (
    "ip route add 10.5.9.0/24 via 192.0.2.9 proto 158",
    "ip route add 10.5.8.0/24 via 10.5.8.0 dev overlay.1 onlink",
    "ip neigh add 10.5.8.0 lladdr 02:00:00:00:00:08 dev overlay.1",
    "bridge fdb add 02:00:00:00:00:08 dst 192.0.2.8 dev overlay.1 self",
    "ip addr add 10.5.8.1/24 dev overlay0",
    "ip link add overlay.77 type vxlan id 77 dstport 8472 local 192.0.2.1 dev eth0",
    "ip link set overlay.77 alias overlay:vtep",
)
FOREIGN = (
    "ip route add 10.5.7.0/24 via 192.0.2.7",
    "ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev eth0",
    "bridge fdb add 02:00:00:00:00:07 dev eth0 self",
    "ip addr add 198.51.100.7/24 dev eth0",
    "ip link add flannel.9 type vxlan id 9 dstport 8472 local 192.0.2.1 dev eth0",
    "ip link set flannel.9 up",
    "ip route add 10.9.2.0/24 via 10.9.2.0 dev flannel.9 onlink",
    "ip neigh add 10.9.2.0 lladdr 02:00:00:00:00:09 dev flannel.9",
    "bridge fdb add 02:00:00:00:00:09 dst 192.0.2.9 dev flannel.9 self",
    "nft add table inet firewalld",
)


def test_what_an_earlier_life_left_goes_and_what_is_foreign_stays(
    host: Path, both: dict[Marks, Dataplane]
) -> None:
    """Route (over tunnel and underlay), neighbour, FDB entry, address, device, table: each kind of both."""
    before = steady(host)
    for command in FOREIGN:
        inside(host, *command.split())
    with_foreign = steady(host)
    fdb = inside(host, "bridge", "fdb", "show")
    for command in STALE:
        inside(host, *command.split())
    assert difference(with_foreign, steady(host))
    settle(host, both[FIRST], WANTED[FIRST])
    assert difference(with_foreign, steady(host)) == []
    assert inside(host, "bridge", "fdb", "show") == fdb
    gone = [line for line in difference(before, with_foreign) if line.startswith("-")]
    assert gone == []


# --- what only one agent may have ------------------------------------------------------------------------

TWIN = next(
    name
    for name in (f"x{number}" for number in range(10_000))
    if Marks(name).route_protocol == BLUE.route_protocol
)
"""Another name that gives the same route protocol."""


def hold(host: Path, tmp_path: Path, name: str, **other: str) -> Sole:
    """As an agent does at its start."""
    run, state = other.get("run", name), other.get("state", name)
    made = Sole(Marks(name))
    run_inside(
        host,
        lambda: made.hold(
            run_dir=tmp_path / "run" / run,
            state_dir=tmp_path / "state" / state,
            bridge=other.get("bridge", Marks(name).bridge),
        ),
    )
    return made


@pytest.mark.parametrize(
    ("name", "other", "words"),
    [
        ("blue", {"run": "x", "state": "y"}, "already has instance = 'blue'"),
        ("red", {"run": "blue"}, "another overlay-agent already runs with run_dir"),
        ("red", {"state": "blue"}, "another overlay-agent already runs with state_dir"),
        ("red", {"bridge": "ovl-blue"}, "already has bridge = 'ovl-blue'"),
        (TWIN, {}, "already has route protocol"),
    ],
)
def test_what_one_has_no_other_gets_and_it_is_said_what_to_change(
    host: Path, tmp_path: Path, name: str, other: dict[str, str], words: str
) -> None:
    """Once the first has ended it is free."""
    with closing(hold(host, tmp_path, "blue")):
        with pytest.raises(BadConfig, match=words) as caught:
            hold(host, tmp_path, name, **other)
        assert "docs/several-networks.md" in caught.value.hint
        if "_dir" not in words:
            assert f"pid {os.getpid()}" in str(caught.value)
        hold(host, tmp_path, "red", run="r", state="s").close()
    hold(host, tmp_path, name, **other).close()


def test_one_network_is_served_by_one_agent_of_a_node_and_another_node_is_another_matter(
    host: Path, other: Path, tmp_path: Path
) -> None:
    """By VNI and port; the network that an agent served before is free again."""
    first, second, far = (hold(space, tmp_path, name) for space, name in
                          ((host, "blue"), (host, "red"), (other, "green")))  # fmt: skip

    def claim(space: Path, sole: Sole, vni: int) -> None:
        run_inside(space, lambda: sole.hold_network(vni, 8472, prefix="/p"))

    with closing(first), closing(second), closing(far):
        claim(host, first, 1)
        claim(host, first, 1)
        claim(other, far, 1)
        with pytest.raises(BadConfig, match="already has VNI 1 on UDP port 8472"):
            claim(host, second, 1)
        claim(host, first, 2)
        claim(host, second, 1)


@pytest.mark.parametrize("overlapping", ["10.5.0.0/16", "10.5.128.0/17", "10.0.0.0/8"])
def test_pod_networks_that_overlap_are_refused_by_name(
    host: Path, other: Path, tmp_path: Path, overlapping: str
) -> None:
    """Whichever is the wider one; who was refused holds nothing, and what an agent had before is free again."""
    first, second, far = (hold(space, tmp_path, name) for space, name in
                          ((host, "blue"), (host, "red"), (other, "green")))  # fmt: skip

    def claim(space: Path, sole: Sole, *networks: str) -> None:
        run_inside(space, lambda: sole.hold_pods(map(ip_network, networks), prefix="/p"))

    with closing(first), closing(second), closing(far):
        claim(host, first, "10.5.0.0/16", "fd00:5::/48")
        claim(other, far, overlapping)
        with pytest.raises(
            BadConfig, match=r"already has the pod network 10\.5\.0\.0/16"
        ) as caught:
            claim(host, second, "fd00:6::/48", overlapping)
        assert f"pid {os.getpid()}" in str(caught.value)
        assert "Network in /p/config" in caught.value.hint
        claim(host, first, "10.5.0.0/16", "fd00:6::/48")
        claim(host, second, "10.6.0.0/16", "fd00:5::/48")
        with pytest.raises(BadConfig, match="the pod network fd00:5::/48"):
            claim(host, first, "10.5.0.0/16", "fd00::/16")


def test_a_user_who_may_not_run_an_agent_keeps_none_from_running(
    host: Path, tmp_path: Path
) -> None:
    """Anybody may bind an abstract name."""
    words = ["nsenter", f"--net={host}", sys.executable, "-c", SQUAT]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        hold(host, tmp_path, "blue").close()


SQUAT = """
import os, socket, sys
held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
os.setuid(65534)
held.bind("\\0overlay-agent/instance/blue")
print("held", flush=True)
sys.stdin.read()
"""
