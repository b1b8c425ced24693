"""Machines whose power fails and comes back, and what their journals say."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from e2e import machines
from e2e.lab import Lab
from e2e.machines import Site
from e2e.node import wait_for
from e2e.pinger import Pings
from e2e.pods import Pod
from e2e.systemdnode import UNIT, SystemdNode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SUBNETS = "/coreos.com/network/subnets/"


@pytest.fixture(scope="module")
def site(machine_layer: Path) -> Iterator[Site]:
    """Three nodes, each of which has heard of the others."""
    with machines.cluster(machine_layer, "n1", "n2", "n3") as made:
        yield made


@pytest.fixture(scope="module")
def pings(site: Site) -> Pings:
    """A pod on each of the first two, and pings between them: they are never cut off."""
    lab, nodes = site
    made = Pings(lab)
    made.between([node.add_pod() for node in nodes[:2]])
    return made


def reach(pod: Pod, other: Pod) -> None:
    """It answers, soon."""
    wait_for(lambda: pod.ping(other.address).ok, f"{pod.name} → {other.name}", timeout_s=60)


def leases(lab: Lab) -> list[str]:
    """Keys of all leases in etcd."""
    return lab.etcd.ctl("get", "--prefix", "--keys-only", SUBNETS).split()


# --- power ------------------------------------------------------------------------------------------


def test_a_reboot_finds_its_subnet_and_leaks_no_address(
    lab: Lab, nodes: list[SystemdNode], pings: Pings
) -> None:
    """kill -9 of PID 1: the pods are gone with the machine; it comes back by itself, as the node it was."""
    n1, _, n3 = nodes
    before = (n3.subnet, leases(lab))
    first, second = n3.add_pod(), n3.add_pod()
    with pings.window() as window:
        n3.cut()
        n3.boot()
        n3.wait_ready(peers=2)
    assert window.lost == 0, window.gaps
    assert (n3.subnet, leases(lab)) == before
    assert n3.tell("status")["attachments"] == 0
    assert n3.overlayctl("ipam", "check").code == 0
    assert not list(n3.root("/run/overlay/ipam").glob("[0-9]*"))
    pod = n3.add_pod()
    assert pod.address in (first.address, second.address)  # theirs are free again
    reach(n1.pods[0], pod)
    n3.remove_pod(pod)


def test_a_power_cut_is_nothing_to_the_others(
    lab: Lab, nodes: list[SystemdNode], pings: Pings
) -> None:
    """Their pods talk on, new ones attach; the lease waits for the one that is gone."""
    n1, n2, n3 = nodes
    with pings.window() as window:
        n3.cut()
        pod = n2.add_pod()
        reach(n1.pods[0], pod)
        assert n1.overlayctl("status").code == 0
        assert len(leases(lab)) == 3
        n2.remove_pod(pod)
        n3.boot()
        n3.wait_ready(peers=2)
        back = n3.add_pod()
        reach(n1.pods[0], back)
        n3.remove_pod(back)
    assert window.lost == 0, window.gaps


def test_a_boot_while_etcd_is_away_serves_pods(
    lab: Lab, nodes: list[SystemdNode], pings: Pings
) -> None:
    """From the last-good copy on its disk: systemd has its READY, pods attach and reach the others."""
    n1, _, n3 = nodes
    subnet = n3.subnet
    wait_for(n3.root("/var/lib/overlay/last-good.json").exists, "a copy", timeout_s=30)
    with pings.window() as window:
        lab.etcd.stop()
        n3.cut()
        n3.boot()
        wait_for(lambda: n3.unit("ActiveState")["ActiveState"] == "active", "READY", timeout_s=60)
        pod = n3.add_pod()
        assert n3.subnet == subnet
        reach(pod, n1.pods[0])
        n3.remove_pod(pod)
        lab.etcd.start()
        for node in nodes:
            wait_for(lambda it=node: it.overlayctl("status").code == 0, "fine", timeout_s=60)  # type: ignore[misc]
    assert window.lost == 0, window.gaps


def test_a_boot_does_not_wait_for_etcd(lab: Lab, nodes: list[SystemdNode]) -> None:
    """Without a copy there is nothing to serve: the unit waits and says for what, the machine is up all the same."""
    n3 = nodes[2]
    lab.etcd.stop()
    n3.root("/var/lib/overlay/last-good.json").unlink()
    n3.must("sync")
    n3.cut()
    n3.boot()
    waiting = r'Status: "waiting: etcd at http://\S+: connection refused'
    wait_for(
        lambda: bool(re.search(waiting, n3.run("systemctl", "status", UNIT).out)),
        "it says for what",
        timeout_s=30,
    )
    assert n3.unit("ActiveState")["ActiveState"] == "activating"
    assert n3.overlayctl("status").code == 2
    lab.etcd.start()
    for node in nodes:
        node.wait_ready(peers=2)


# --- the journal -----------------------------------------------------------------------------------


STORY: tuple[str | set[str], ...] = (
    "Starting overlay-agent.service",
    r"overlay-agent \S+ starts node=n2 etcd=http://\S+ prefix=/coreos.com/network",
    r"lease held lease=10\.5\.\d+\.0-24 how=kept",
    r"in sync peers=2 changes=0",
    {r"pods may be attached mtu=1450", "Started overlay-agent.service"},
    r"ADD pod=default/n2p\d+ attachment=eth0@\w+ ip=10\.5\.",
    "Reloading overlay-agent.service",
    "the settings are in order",
    "settings read again: nothing to take",
    r"Main process exited, code=killed, status=9/KILL",
    "Scheduled restart job",
    r"overlay-agent \S+ starts",
    r"in sync peers=2 changes=0",
    "Started overlay-agent.service",
    r"DEL attachment=eth0@",
    {"Stopping overlay-agent.service", "stopped; traffic, lease and pods stay as they are"},
    "Deactivated successfully",
)
"""In braces: what systemd and the agent say within a millisecond or so, of which journald may hear in either order."""


def test_the_journal_reads_as_one_story(nodes: list[SystemdNode]) -> None:
    """Start, pod, reload, kill, stop: one line per change, each says what was done, no traceback."""
    node = nodes[1]
    node.must("systemctl", "stop", UNIT)
    since = node.must("date", "+%F %T.%N").strip()
    node.must("systemctl", "start", UNIT)
    node.wait_ready(peers=2)
    pod = node.add_pod()
    node.must("systemctl", "reload", UNIT)
    wait_for(
        lambda: "settings read again: nothing to take" in node.journal("--since", since),
        "read",
        timeout_s=30,
    )
    agent = node.agent
    node.must("kill", "-9", str(agent))
    wait_for(lambda: node.agent not in (0, agent), "the next one", timeout_s=30)
    node.wait_ready(peers=2)
    node.remove_pod(pod)
    node.must("systemctl", "stop", UNIT)
    said = node.journal("--since", since)
    node.must("systemctl", "start", UNIT)
    node.wait_ready(peers=2)

    assert _missing(STORY, said) == "", "\n".join(said)
    assert not [line for line in said if "Traceback" in line]
    assert len(said) < 40, "\n".join(said)


def _missing(story: Sequence[str | set[str]], said: Sequence[str]) -> str:
    """The first line of the story that does not follow the one before."""
    left = iter(said)
    for wanted in story:
        open_ = {wanted} if isinstance(wanted, str) else {*wanted}
        while open_:
            line = next(left, None)
            if line is None:
                return ", ".join(sorted(open_))
            open_ -= {it for it in open_ if re.search(it, line)}
    return ""


def test_no_node_has_complained_without_a_reason(nodes: list[SystemdNode]) -> None:
    """Whatever was done to them here: errors are about settings that were refused, and nothing else."""
    for node in nodes:
        errors = node.journal("-p", "err", "_COMM=overlay-agent")
        known = ("refused", "= '", "next:")
        assert not [line for line in errors if not any(it in line for it in known)], errors
