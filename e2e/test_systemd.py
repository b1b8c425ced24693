"""overlay-agent.service under a real systemd, on three machines: start, kill, hang, stop, upgrade, sandbox."""

import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.ctl import client
from e2e import machines
from e2e.fault import halted
from e2e.machines import Site
from e2e.node import wait_for
from e2e.pinger import Pings
from e2e.pods import Pod
from e2e.systemdimage import ROOT
from e2e.systemdnode import UNIT, InnerSpace, SystemdNode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OFTEN_S = 0.01
WATCHDOG = "[Service]\nWatchdogSec=5\nTimeoutAbortSec=2\n"
"""Quicker than the unit's, and slower than a busy machine may be with an agent that is well."""
PRODUCT = ("overlay", "agent", "cni", "tools", "docs")
PROJECT = (
    "pyproject.toml",
    "constraints.txt",
    "hatch_build.py",
    "Makefile",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def site(machine_layer: Path) -> Iterator[Site]:
    """Three nodes, each of which has heard of the others."""
    with machines.cluster(machine_layer, "n1", "n2", "n3") as made:
        yield made


@pytest.fixture(scope="module")
def pings(site: Site) -> Pings:
    """A pod on each node, and a hundred pings a second between each two."""
    lab, nodes = site
    made = Pings(lab, every_s=OFTEN_S)
    made.between([node.add_pod() for node in nodes])
    return made


@pytest.fixture
def node(nodes: list[SystemdNode]) -> SystemdNode:
    """One of them."""
    return nodes[0]


def restarts(node: SystemdNode) -> int:
    """How often systemd has started the agent by itself."""
    return int(node.unit("NRestarts")["NRestarts"])


def wait_back(node: SystemdNode, before: int) -> None:
    """Until another agent than the one before serves; it had nothing to change."""

    def back() -> bool:
        now = node.unit("ActiveState", "MainPID")
        return now["ActiveState"] == "active" and int(now["MainPID"]) not in (0, before)

    wait_for(back, "the agent is back", timeout_s=60, also=lambda: "\n".join(node.journal("-n20")))
    node.wait_ready(peers=2)
    assert node.tell("status")["changes"] == 0


def test_a_start_returns_when_pods_attach(nodes: list[SystemdNode]) -> None:
    """READY is no guess; `systemctl status` says in a sentence how the node is, and so do the exit codes."""
    node = nodes[0]
    node.must("systemctl", "stop", UNIT)
    assert node.overlayctl("status").code == 2
    node.must("systemctl", "start", UNIT)
    pod = node.add_pod()  # at once
    try:
        said = node.run("systemctl", "status", UNIT)
        assert said.code == 0
        assert re.search(r'Status: "in sync, subnet 10\.5\.\d+\.0-24, [012] peers', said.out)
        node.wait_ready(peers=2)
        assert node.overlayctl("status").code == 0
    finally:
        node.remove_pod(pod)


def test_a_killed_agent_comes_back_and_nobody_notices(node: SystemdNode, pings: Pings) -> None:
    """kill -9: another one within a second or so, no packet lost, nothing changed in the kernel."""
    agent, before = node.agent, restarts(node)
    with pings.window() as window:
        node.must("kill", "-9", str(agent))
        wait_back(node, agent)
    assert restarts(node) == before + 1
    assert window.sent > 100
    assert window.lost == 0, window.gaps


@pytest.fixture
def strict(node: SystemdNode) -> Iterator[SystemdNode]:
    """A node whose watchdog is quick."""
    drop_in = f"/etc/systemd/system/{UNIT}.service.d/watchdog.conf"
    node.write(drop_in, WATCHDOG)
    node.must("systemctl", "daemon-reload")
    node.must("systemctl", "restart", UNIT)
    yield node
    node.root(drop_in).unlink()
    node.must("systemctl", "daemon-reload")
    node.must("systemctl", "restart", UNIT)


def test_a_hung_agent_is_killed_and_started_anew(strict: SystemdNode, pings: Pings) -> None:
    """SIGSTOP: no thread runs. systemd waits for the watchdog, aborts, kills, starts."""
    agent, before = strict.agent, restarts(strict)
    with pings.window() as window:
        strict.must("kill", "-STOP", str(agent))
        wait_back(strict, agent)
    assert restarts(strict) == before + 1
    wait_for(lambda: any("Watchdog timeout" in it for it in strict.journal()), "said", timeout_s=20)
    assert window.lost == 0, window.gaps


def test_only_a_loop_that_turns_feeds_the_watchdog(strict: SystemdNode, pings: Pings) -> None:
    """One thread stands still, the others live and answer: it is hung all the same, and the journal says where."""
    agent, before = strict.agent, restarts(strict)
    since = strict.must("date", "+%F %T.%N").strip()

    def said() -> list[str]:
        return strict.journal("--since", since)

    with pings.window() as window:
        with halted(strict.thread("reconcile")):
            for verb in ("standing", "etcd"):  # answered by threads that ask nothing of the loop
                assert client.ask(strict.run_dir, verb)
            wait_for(
                lambda: any("Watchdog timeout" in line for line in said()),
                "the watchdog has noticed",
                timeout_s=30,
            )
        wait_back(strict, agent)
    assert restarts(strict) == before + 1
    wait_for(
        lambda: any("agent/loop.py" in line and "_take_in" in line for line in said()),
        "the journal says where",
        timeout_s=20,
        also=lambda: "\n".join(said()),
    )
    assert window.lost == 0, window.gaps


def test_a_stop_leaves_traffic_and_all_that_a_start_finds_again(
    node: SystemdNode, pings: Pings
) -> None:
    """/run/overlay and /var/lib/overlay stay, pods talk on and even come and go, without an agent."""
    copy = node.root("/var/lib/overlay/last-good.json")  # a moment after it is ready
    wait_for(copy.exists, "a copy", timeout_s=30)
    subnet, files = node.subnet, _files(node)
    with pings.window() as window:
        node.must("systemctl", "stop", UNIT)
        assert _files(node) == files
        said = node.run("systemctl", "status", UNIT)
        assert said.code == 3  # not running
        assert 'Status: "stopped: traffic, lease and pods stay as they are"' in said.out
        pod = node.add_pod()
        node.remove_pod(pod)
        node.must("systemctl", "start", UNIT)
        node.wait_ready(peers=2)
    assert window.lost == 0, window.gaps
    assert (node.subnet, node.tell("status")["changes"]) == (subnet, 0)


def _files(node: SystemdNode) -> set[str]:
    """What belongs to pods, and what the next start needs."""
    found = node.must("find", "/run/overlay", "/var/lib/overlay", "!", "-name", "*.sock")
    return {line for line in found.split() if not line.endswith((".lock", ".last-V4"))}


def test_an_upgrade_loses_no_packet_and_no_attachment(
    nodes: list[SystemdNode], pings: Pings
) -> None:
    """`make install` of a newer version, which restarts the agent, under a hundred pings a second and pair."""
    node = nodes[1]
    attachments = node.tell("status")["attachments"]
    newer = node.root("/root/newer")
    newer.mkdir(parents=True)
    for name in PRODUCT:
        shutil.copytree(ROOT / name, newer / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in PROJECT:
        shutil.copy(ROOT / name, newer / name)
    (newer / "overlay/__init__.py").write_text(
        re.sub(
            r'__version__ = ".*"',
            '__version__ = "99.1"',
            (newer / "overlay/__init__.py").read_text(),
        )
    )

    with pings.window() as window:
        node.must("make", "-C", "/root/newer", "install", timeout_s=machines.INSTALL_S)
        node.wait_ready(peers=2)
    assert window.sent > 500
    assert window.lost == 0, window.gaps
    after = node.tell("status")
    assert (after["version"], after["attachments"]) == ("99.1", attachments)
    assert after["changes"] == 0
    pod = node.add_pod()  # by the new executable
    node.remove_pod(pod)


def test_the_sandbox_is_closed_where_it_is_said_to_be(node: SystemdNode) -> None:
    """Read-only /usr, /etc and homes, a /tmp of its own; what it needs stays writable."""
    inside = ["nsenter", "-t", str(node.agent), "-m", "--", "touch"]
    for path in ("/usr/x", "/etc/x", "/root/x", "/boot/x", "/opt/overlay/../../etc/overlay.toml"):
        said = node.run(*inside, path)
        assert (said.code, "Read-only file system" in said.err) == (1, True), path
    for path in ("/run/overlay/x", "/var/lib/overlay/x", "/etc/cni/net.d/x", "/tmp/x"):
        node.must(*inside, path)
        assert node.root(path).exists() == (path != "/tmp/x")
        node.must(*[*inside[:-1], "rm"], path)
    status = node.root(f"/proc/{node.agent}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


@dataclass(frozen=True, slots=True)
class OfProcess(InnerSpace):
    """A namespace that is named by a process in it."""

    process: str

    @property
    def path(self) -> Path:
        """As Docker and podman call it."""
        return Path(f"/proc/{self.process}/ns/net")


@pytest.mark.parametrize("ipam", ["", "host-local"])
def test_a_pod_given_by_a_process_is_attached_too(node: SystemdNode, ipam: str) -> None:
    """Also with an address of an IPAM plugin, a program that runs in the agent's sandbox."""
    more: dict[str, object] = {}
    if ipam:
        shutil.copy(f"/usr/lib/cni/{ipam}", node.root(f"/opt/cni/bin/{ipam}"))
        more = {"cniVersion": "1.0.0", "ipam": {"type": ipam, "subnet": "usePodCidr"}}
    space = node.bare_pod()
    start = f"ip netns exec {space.name} sleep 600 >/dev/null 2>&1 & echo $!"
    process = node.must("bash", "-c", start).strip()
    comm = node.root(f"/proc/{process}/comm")
    wait_for(lambda: comm.read_text() == "sleep\n", "it sleeps", timeout_s=20)
    pod = Pod(space.name, node.name, OfProcess(space.name, node.leader, process))

    node.runtime.add(pod, **more)
    try:
        kept = node.root(f"/var/lib/cni/networks/overlay/{pod.address}")
        assert kept.exists() == bool(ipam)
        node.runtime.call("DEL", pod, stdin=node.runtime.config(node.runtime.conflist(), more))
    finally:
        node.must("kill", process)
        node.remove_pod(space, say_so=False)


def test_limits_hold(node: SystemdNode) -> None:
    """As far as this machine lets systemd set them."""
    limit = node.unit("TasksMax", "LimitNOFILE", "WatchdogUSec", "OOMScoreAdjust", "Restart")
    assert (limit["TasksMax"], limit["LimitNOFILE"]) == ("1024", "65536")
    assert (limit["WatchdogUSec"], limit["Restart"]) == ("1min", "always")
    pids = Path(str(node.cgroup).replace("/systemd/", "/pids/"), "pids.max")
    if pids.exists():
        assert pids.read_text().strip() == "1024"


def test_signals_are_named(node: SystemdNode) -> None:
    """A reload of an agent that is asked by hand is no end of it."""
    agent = node.agent

    def read() -> int:
        return node.journal().count("settings read again: nothing to take")

    before = read()
    node.must("kill", f"-{signal.SIGHUP.name}", str(agent))
    wait_for(lambda: read() > before, "read again", timeout_s=30)
    assert node.agent == agent
