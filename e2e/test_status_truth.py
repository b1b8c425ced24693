"""A status that tells the truth: what an operator would call broken is named, and healthy again once it is mended."""

import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.etcdserver import NETWORK
from e2e.lab import Lab
from e2e.node import VENV_BIN, Node, wait_for
from e2e.process import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
SOON_S = 60.0
"""Longer than a page that is altered twice within a moment stays so (agent.outlook, PACE_S)."""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Lab, Node, Node]]:
    """Two nodes that are ready; each test leaves them so."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", "/coreos.com/network/config", NETWORK)
        one, two = lab.add_node("n1", sweep_interval="2s"), lab.add_node("n2")
        lab.start_nodes(one, two)
        yield lab, one, two


@pytest.fixture
def node(pair: tuple[Lab, Node, Node]) -> Node:
    """The first, healthy before the test and after it."""
    _, one, _ = pair
    wait_for(lambda: verdict(one) == "healthy", "healthy", timeout_s=SOON_S, also=one.log_tail)
    return one


def verdict(node: Node) -> str:
    """In a word; an agent that cannot be reached has none."""
    try:
        return str(node.tell("status")["verdict"])
    except Exception:  # whatever stands in the way
        return ""


def broken(node: Node, name: str, *, containing: str = "") -> dict[str, Any]:
    """Wait until it is told; returns the status. The exit code says it, too."""

    def told() -> bool:
        trouble = node.tell("status")["trouble"]
        return any(who.startswith(name) and containing in why for who, why in trouble.items())

    wait_for(told, f"{name} is told", timeout_s=SOON_S, also=node.log_tail)
    said = node.overlayctl("status")
    assert said.code == 1, said.out
    assert "degraded" in said.out.splitlines()[0]
    assert "next: " in said.out
    status = node.tell("status")
    assert status["trouble_since"].keys() == status["trouble"].keys()
    return status


def mended(node: Node) -> None:
    """Wait until nothing is wrong any more, and the exit code says it, too.

    A call to etcd that began while the underlay was down may be late when all else is well.
    """
    wait_for(
        lambda: verdict(node) == "healthy" and node.overlayctl("status").code == 0,
        "healthy",
        timeout_s=SOON_S,
        also=node.log_tail,
    )


def test_a_device_that_cannot_be_made_again(node: Node) -> None:
    """Another program's has its name: our own stays away."""
    with node.still():  # else the agent may be the first to make it again
        node.namespace.ip("link del overlay.1", "link add overlay.1 type bridge")
    broken(node, "this node", containing="overlay.1")
    node.namespace.ip("link del overlay.1")
    mended(node)


def test_a_conflist_that_cannot_be_written_again(node: Node) -> None:
    """Its directory is gone; one that can be written comes back by itself."""
    aside = node.conf_dir.with_name("aside")
    with node.still():
        node.conf_dir.rename(aside)
        node.conf_dir.write_text("")
    broken(node, "conflist")
    with node.still():
        node.conf_dir.unlink()
        aside.rename(node.conf_dir)
    (node.conf_dir / node.conflist).unlink()
    wait_for((node.conf_dir / node.conflist).exists, "the conflist", timeout_s=SOON_S)
    mended(node)


def test_an_executable_without_its_bit(node: Node) -> None:
    """Every ADD would fail in the runtime, and the agent never hear of it."""
    program = node.runtime.bin_dir / "overlay"
    program.chmod(0o644)
    broken(node, "CNI executable", containing="is not executable")
    program.chmod(0o755)
    mended(node)


def test_an_underlay_that_carries_nothing(node: Node) -> None:
    """All routes and entries are right, etcd has not been missed yet, and no packet goes."""
    node.namespace.ip("link set eth0 down")
    broken(node, "underlay", containing="eth0 is down")
    node.namespace.ip("link set eth0 up")
    mended(node)


def test_pages_that_others_take_or_alter_are_there_again_within_seconds(node: Node) -> None:
    """Not only with the next sweep: until then every ADD would be refused."""
    page, conflist = node.run_dir / "node.json", node.conf_dir / node.conflist
    right = conflist.read_bytes()
    page.unlink()
    conflist.write_text("{}")
    wait_for(
        lambda: page.exists() and conflist.read_bytes() == right, "both again", timeout_s=SOON_S
    )
    mended(node)


@pytest.mark.parametrize("by", ["nobody", "another program"])
def test_a_socket_that_is_gone_or_another_programs(node: Node, by: str) -> None:
    """It is made again, and answers."""
    path, aside, said = node.run_dir / "cni.sock", node.work / "other.sock", len(node.log_text())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        if by == "another program":
            other.bind(str(aside))  # and does not listen
            aside.replace(path)
        else:
            path.unlink()
        wait_for(lambda: "our socket" in node.log_text()[said:], "it is said", timeout_s=SOON_S)
        wait_for(lambda: verdict(node) == "healthy", "asked again", timeout_s=SOON_S)


def test_a_rival_that_sorts_before_us(node: Node) -> None:
    """Runtimes would take that one."""
    rival = node.conf_dir / "05-rival.conflist"
    rival.write_text("{}")
    broken(node, "conflist", containing="05-rival")
    rival.unlink()
    mended(node)


def test_a_pod_whose_link_was_taken(pair: tuple[Lab, Node, Node], node: Node) -> None:
    """Its address is held, its journal is there, and it reaches nobody."""
    lab, _, _ = pair
    pod = lab.add_pod(node)
    pod.namespace.ip("link del eth0")
    broken(node, "pod ")
    lab.remove_pod(pod)
    mended(node)


@pytest.mark.parametrize("what", ["switch", "entry"])
def test_what_others_undo_is_mended_and_still_told(
    pair: tuple[Lab, Node, Node], node: Node, what: str
) -> None:
    """Healthy again within moments, but the day's count says that somebody is at it."""
    _, _, two = pair
    before = node.tell("status")["mended_last_day"]
    if what == "switch":
        node.namespace.must("sysctl", "-qw", "net.ipv4.ip_forward=0")
    else:
        mac = _mac_of(node, two)
        node.namespace.must(
            "bridge", "fdb", "replace", mac, "dev", "overlay.1", "dst", "192.168.50.77", "self"
        )

    def counted() -> bool:
        return bool(node.tell("status")["mended_last_day"] > before)

    wait_for(counted, "it is counted", timeout_s=SOON_S, also=node.log_tail)
    mended(node)
    assert "others undid something" in node.overlayctl("status").out


def _mac_of(node: Node, peer: Node) -> str:
    (row,) = [row for row in node.tell("peers")["peers"] if row["subnet"] == peer.subnet]
    return str(row["vtep_mac"])


def test_an_etcd_that_is_away_and_how_long(pair: tuple[Lab, Node, Node], node: Node) -> None:
    """Traffic goes on; the oldest trouble has its age."""
    lab, _, _ = pair
    lab.etcd.stop()
    status = broken(node, "etcd")
    assert "traffic goes on" in status["trouble"]["etcd"]
    assert "the oldest for" in node.overlayctl("status").out.splitlines()[0]
    lab.etcd.start()
    wait_for(lambda: verdict(node) == "healthy", "healthy", timeout_s=SOON_S)


def test_a_dead_agent_is_down_traffic_is_not_and_watch_sees_it_go_and_come(
    pair: tuple[Lab, Node, Node], node: Node
) -> None:
    """Exit code 2, what the kernel does without it; ``--watch`` in a pipe tells what changed, and never hangs."""
    _, one, _ = pair
    log = one.work / "watch.log"
    words: list[Any] = [sys.executable, "-u", VENV_BIN / "overlayctl", "status", "--watch"]
    watch = Daemon("watch", one.namespace.inside([*words, "--config", one.config_file]), log)
    try:
        _seen(log, lambda text: "n1 is healthy" in text)
        one.kill_agent()
        said = one.overlayctl("status")
        assert said.code == 2
        assert "n1 is down" in said.out
        assert "still forwards to 1 peers" in said.out
        _seen(log, lambda text: "n1 is down" in text)
        one.start_agent()
        one.wait_ready(peers=1)
        _seen(log, lambda text: "n1 is healthy" in text[text.index("n1 is down") :])
    finally:
        watch.end()
    assert one.overlayctl("status", "--output", "json").code == 0


def _seen(log: Any, condition: Callable[[str], bool]) -> None:  # noqa: ANN401 - a path
    wait_for(
        lambda: condition(log.read_text()), "the watch tells", timeout_s=SOON_S, also=log.read_text
    )
