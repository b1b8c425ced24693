"""culprits: the evidence decides the name, and each name comes with what to do."""

from pathlib import Path

from agent import processes
from agent.culprits import NAMES, UNKNOWN, Sign, likely
from agent.processes import Process
from overlay.desired import desired_node
from overlay.model import Bridge, FdbEntry, KernelObject, Route, Ruleset, Sysctl, Vxlan
from tests.agent.one_node import objects
from tests.examples import ME, NETWORK

NODE = {type(item): item for item in desired_node(NETWORK, ME)}
PEER = {type(item): item for item in objects(2) if isinstance(item, Route | FdbEntry)}
NETWORKD, DOCKER, FLANNEL = (
    Process(7, "systemd-network"),
    Process(8, "dockerd"),
    Process(9, "flanneld"),
)


GONE = Sign()


def named(item: KernelObject, sign: Sign = GONE, *running: Process, new_mac: bool = False) -> str:
    """The likely name."""
    return str(likely(item, sign, running, new_mac=new_mac))


def test_the_kernels_word_counts_most() -> None:
    """nft's events name the process, whatever else runs here."""
    found = likely(NODE[Ruleset], Sign(process="nft", pid=41), [DOCKER])

    assert str(found) == "nft (the kernel names it, pid 41)"
    assert "flush ruleset" in found.advice


def test_a_route_in_the_place_of_ours_bears_the_number_of_its_maker() -> None:
    """As /etc/iproute2/rt_protos has them; 3 is boot, which anybody uses."""
    assert named(PEER[Route], Sign(protocol=12)).startswith("BIRD")
    assert named(PEER[Route], Sign(protocol=16)).startswith("a DHCP client")
    assert named(PEER[Route], Sign(protocol=3)) == str(UNKNOWN)
    static = likely(PEER[Route], Sign(protocol=4), [NETWORKD])
    assert "systemd-networkd" in static.name


def test_a_new_mac_right_after_the_creation_is_udevs() -> None:
    """MACAddressPolicy=persistent; the advice is a .link file."""
    found = likely(NODE[Vxlan], Sign("mac"), [NETWORKD], new_mac=True)

    assert found.name == "systemd-udevd"
    assert "MACAddressPolicy=none" in found.advice


def test_only_programs_that_do_such_things_are_suspects() -> None:
    """Docker makes bridges and rules, no FDB entries."""
    assert "dockerd (pid 8)" in named(NODE[Bridge], GONE, DOCKER, FLANNEL)
    assert named(PEER[FdbEntry], GONE, DOCKER) == str(UNKNOWN)
    assert "flanneld (pid 9)" in named(PEER[FdbEntry], GONE, DOCKER, FLANNEL)
    assert named(NODE[Sysctl], GONE, NETWORKD) == str(UNKNOWN)


def test_two_signs_of_one_object_lose_no_trace() -> None:
    """A device goes down before it is deleted; a table is flushed before it is deleted."""
    down, gone = Sign("up", "was set down", process="ip", pid=3), Sign("gone", "was deleted")

    assert gone.after(down) == Sign("gone", "was deleted", process="ip", pid=3)
    assert down.after(gone) == Sign("gone", "was deleted", process="ip", pid=3)


def test_programs_are_found_by_name_and_namespace(tmp_path: Path) -> None:
    """One in another network namespace cannot have done it; the kernel cuts names at 15 characters."""

    def process(pid: str, name: str, net: str) -> None:
        home = tmp_path / pid
        (home / "ns").mkdir(parents=True)
        (home / "comm").write_text(f"{name}\n")
        (home / "ns/net").hardlink_to(tmp_path / net)

    for net in ("ours", "theirs"):
        (tmp_path / net).touch()
    process("self", "overlay-agent", "ours")
    process("11", "systemd-network", "ours")
    process("12", "flanneld", "theirs")
    process("13", "bash", "ours")

    assert list(processes.here(NAMES, proc=tmp_path)) == [Process(11, "systemd-network")]
    assert processes.at(13, proc=tmp_path) == Process(13, "bash")
    assert processes.at(12, proc=tmp_path) is None
    assert processes.at(99, proc=tmp_path) is None
    assert all(len(name) <= 15 for name in NAMES)
