"""An operator's day on machines with a real systemd: each verb once, as the README says it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e import machines
from e2e.machines import Site
from e2e.node import wait_for
from e2e.pinger import Pings
from e2e.pods import Pod
from e2e.systemdnode import SystemdNode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

METRICS = "http://127.0.0.1:10158"
WALL = "add table inet wall\nadd chain inet wall f { type filter hook forward priority 0; policy drop; }\n"


@pytest.fixture(scope="module")
def site(machine_layer: Path) -> Iterator[Site]:
    """Two nodes, installed by `overlayctl install`, which ends with nothing that is a fault."""
    with machines.cluster(machine_layer, "n1", "n2") as made:
        yield made


@pytest.fixture(scope="module")
def pods(site: Site) -> list[Pod]:
    """One on each."""
    return [node.add_pod() for node in site[1]]


def said(node: SystemdNode, *words: str, code: int = 0) -> str:
    """What a command prints, which has to end with that code."""
    done = node.run(*words)
    assert done.code == code, done.out + done.err
    return done.out


@contextmanager
def wall(node: SystemdNode) -> Iterator[None]:
    """Somebody's firewall drops what is forwarded."""
    node.must("nft", "-f", "-", stdin=WALL)
    try:
        yield
    finally:
        node.must("nft", "delete", "table", "inet", "wall")


def test_status_is_one_screen_and_a_code(nodes: list[SystemdNode], pods: list[Pod]) -> None:
    """Healthy is 0, and the screen says by what."""
    text = said(nodes[0], "overlayctl", "status")
    for word in ("n1 is healthy", nodes[0].subnet, "1450", "1 attached"):
        assert word in text
    assert len(text.splitlines()) < 24


def test_why_names_the_hop_and_the_way_out(nodes: list[SystemdNode], pods: list[Pod]) -> None:
    """Over both nodes: nothing broken, then the table that drops on the far one, and nothing again."""
    here, there = nodes
    words = ["overlayctl", "why", pods[0].name, f"{pods[1].address}"]
    said(here, *words)
    with wall(there):
        text = said(here, *words, code=1)
        assert "inet wall" in text
        assert "nft" in text
    said(here, *words)


def test_probe_says_what_arrives(nodes: list[SystemdNode], pods: list[Pod]) -> None:
    """Small and full packets to the other node."""
    text = said(nodes[0], "overlayctl", "probe")
    assert "n2" in text
    assert "1450" in text


def test_trace_shows_a_ping_inside_and_outside(
    site: Site, nodes: list[SystemdNode], pods: list[Pod]
) -> None:
    """By name of the pod; it ends by itself after so many lines."""
    lab = site[0]
    pings = Pings(lab)
    pings.between(pods)
    try:
        words = ["overlayctl", "trace", pods[0].name, "--icmp", "-c", "4", "--seconds", "20"]
        text = said(nodes[0], *words)
        assert f"{pods[0].address}" in text
        assert f"{pods[1].address}" in text
        assert nodes[1].address in text
    finally:
        pings.end(pods[0])


def test_doctor_finds_no_fault_and_then_the_firewall(nodes: list[SystemdNode]) -> None:
    """A fault has its rule and its mend; what this machine's clock and etcd are like is none."""
    assert "0 faults" in nodes[0].overlayctl("doctor").out
    with wall(nodes[0]):
        text = said(nodes[0], "overlayctl", "doctor", code=1)
        assert "0 faults" not in text
        assert "inet wall" in text
        assert "mend:" in text


def test_mesh_knows_both_and_writes_a_page(nodes: list[SystemdNode]) -> None:
    """The table, and the page that loads nothing."""
    text = said(nodes[0], "overlayctl", "mesh", "--probe", "--html", "/root/mesh.html")
    page = nodes[0].root("/root/mesh.html").read_text()
    for name in ("n1", "n2"):
        assert name in text
        assert name in page


def test_metrics_and_health_answer_on_loopback(nodes: list[SystemdNode], pods: list[Pod]) -> None:
    """As Prometheus and a load balancer ask; from elsewhere nobody is answered."""
    node = nodes[0]
    ask = (
        "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"
    )

    def get(path: str) -> str:
        return node.must("/usr/bin/python3", "-c", ask, f"{METRICS}{path}")

    assert "overlay_" in get("/metrics")
    get("/healthz")
    get("/readyz")
    elsewhere = METRICS.replace("127.0.0.1", node.address)
    assert node.run("/usr/bin/python3", "-c", ask, elsewhere).code != 0


def test_history_knows_who_had_an_address(nodes: list[SystemdNode]) -> None:
    """Also of a pod that is gone, also from the other node."""
    gone = nodes[1].add_pod()
    nodes[1].remove_pod(gone)
    for node in nodes:

        def known(node: SystemdNode = node) -> bool:
            text = node.run("overlayctl", "history", f"{gone.address}").out
            return gone.name in text and "n2" in text

        wait_for(known, f"{node.name} knows", timeout_s=30)


def test_uninstall_leaves_nothing_and_harms_nobody(
    site: Site, nodes: list[SystemdNode], pods: list[Pod]
) -> None:
    """Refused while a pod is attached; then the residue is looked for and there is none."""
    here, there = nodes
    program = "/opt/overlay/bin/overlayctl"
    refused = there.run(program, "uninstall")
    assert (refused.code, "attached to this node" in refused.err) == (1, True), refused.out
    assert there.tell("status")["attachments"] == 1
    there.remove_pod(pods[1])
    text = said(there, program, "uninstall", "--purge")
    assert "nothing is left" in text
    assert not there.root("/run/overlay").exists()
    assert "overlay" not in there.must("ip", "link")
    wait_for(lambda: here.tell("status")["peers"]["total"] == 0, "it has left", timeout_s=30)
    assert here.overlayctl("status").code == 0
    assert len(json.loads(said(here, "overlayctl", "leases", "--output", "json"))) == 1
