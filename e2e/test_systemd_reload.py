"""systemctl reload: settings that change while the agent runs; and a unit for each further network."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import machines
from e2e.lab import FABRIC_ADDRESS, Lab
from e2e.machines import Site
from e2e.node import wait_for
from e2e.pinger import Pings
from e2e.stage import NamespaceProxy
from e2e.systemdnode import UNIT, SystemdNode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SUBNETS = "/coreos.com/network/subnets/"
DROP_IN = f"/etc/systemd/system/{UNIT}.service.d/cni.conf"


@pytest.fixture(scope="module")
def site(machine_layer: Path) -> Iterator[Site]:
    """Two nodes that have heard of each other."""
    with machines.cluster(machine_layer, "n1", "n2") as made:
        yield made


@pytest.fixture(scope="module")
def pings(site: Site) -> Pings:
    """A pod on each, and pings between them."""
    lab, nodes = site
    made = Pings(lab)
    made.between([node.add_pod() for node in nodes])
    return made


def since(node: SystemdNode) -> Callable[[], list[str]]:
    """What the agent, or systemd of it, says from now on."""
    now = node.must("date", "+%F %T.%N").strip()
    return lambda: node.journal("--since", now)


def test_a_reload_takes_what_it_can_and_names_the_rest(lab: Lab, nodes: list[SystemdNode]) -> None:
    """By systemctl; the process stays."""
    node = nodes[1]
    agent = node.agent
    heard = since(node)
    node.settings(etcd_endpoints=[lab.endpoints], log_level="debug", bridge="br7")
    node.must("systemctl", "reload", UNIT)
    waits = "needs a restart of overlay-agent (pods keep running): bridge=br7, in force is bridge=overlay0"
    taken = "settings read again: log_level=DEBUG"
    wait_for(lambda: {waits, taken} <= {*heard()}, "taken", timeout_s=30)

    heard = since(node)
    node.settings(etcd_endpoints=[lab.endpoints])
    node.must("systemctl", "reload", UNIT)
    taken = "settings read again: log_level=INFO"
    wait_for(lambda: taken in heard(), "taken back", timeout_s=30)
    assert waits not in heard()
    assert node.agent == agent


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("log_level", "loud", "not one of debug, info, warning, error"),
        ("etcd_cafile", "/etc/overlay/no.pem", "No such file"),
    ],
)
def test_a_bad_file_is_refused_whole(
    lab: Lab, nodes: list[SystemdNode], setting: str, value: str, why: str
) -> None:
    """systemctl reload fails and the journal says why; SIGHUP by hand is refused in the same words."""
    node = nodes[1]
    agent = node.agent
    endpoint = lab.endpoints.replace("http:", "https:") if setting != "log_level" else lab.endpoints
    node.settings(etcd_endpoints=[endpoint], **{setting: value})
    heard = since(node)
    assert node.run("systemctl", "reload", UNIT).code != 0
    wait_for(
        lambda: any(setting in line and why in line for line in heard()), "said why", timeout_s=30
    )

    def refusals() -> int:
        return "\n".join(node.journal()).count("new settings refused, those of before stay")

    before = refusals()
    node.must("kill", "-HUP", str(agent))
    wait_for(lambda: refusals() > before, "refused", timeout_s=30)
    node.settings(etcd_endpoints=[lab.endpoints])
    node.must("systemctl", "reload", UNIT)
    status = node.tell("status")
    assert (status["verdict"], status["etcd"]["endpoints"]) == ("healthy", [lab.endpoints])
    assert node.agent == agent


def test_a_reload_leads_to_another_endpoint(
    lab: Lab, nodes: list[SystemdNode], pings: Pings
) -> None:
    """Of the same etcd: nothing is left at the old one, news come by the new one, no ping is lost."""
    node = nodes[0]
    proxy = NamespaceProxy(lab.fabric, f"{FABRIC_ADDRESS}:2999", "127.0.0.1:2379")
    lab.clients.append(proxy)
    lab.record()
    with pings.window() as window:
        node.settings(etcd_endpoints=[f"http://{FABRIC_ADDRESS}:2999"])
        node.must("systemctl", "reload", UNIT)
        wait_for(lambda: _ports(node) == {"2999"}, "moved", timeout_s=60)
        lab.etcd.ctl(
            "put",
            f"{SUBNETS}10.5.200.0-24",
            '{"PublicIP":"192.168.50.200","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:c8"}}',
        )
        node.wait_ready(peers=2)
        lab.etcd.ctl("del", f"{SUBNETS}10.5.200.0-24")
        assert node.tell("status")["etcd"]["endpoints"] == [f"http://{FABRIC_ADDRESS}:2999"]
        node.settings(etcd_endpoints=[lab.endpoints])
        node.must("systemctl", "reload", UNIT)
        wait_for(lambda: _ports(node) == {"2379"}, "moved back", timeout_s=60)
    assert window.lost == 0, window.gaps


def _ports(node: SystemdNode) -> set[str]:
    """Of etcd, as the node's connections say."""
    found = node.namespace.must("ss", "-Hnt", "state", "established", "dst", FABRIC_ADDRESS)
    return {line.split()[3].rpartition(":")[2] for line in found.splitlines()}


@pytest.fixture
def elsewhere(lab: Lab, nodes: list[SystemdNode]) -> Iterator[str]:
    """A directory for conflists that the unit may not write, and the node as it was afterwards."""
    node = nodes[1]
    directory = "/etc/kubernetes/net.d"
    node.must("mkdir", "-p", directory)
    node.settings(etcd_endpoints=[lab.endpoints], cni_conf_dir=directory)
    node.must("systemctl", "restart", "--no-block", UNIT)
    yield directory
    node.root(DROP_IN).unlink(missing_ok=True)
    node.settings(etcd_endpoints=[lab.endpoints])
    node.must("systemctl", "daemon-reload")
    node.must("systemctl", "restart", UNIT)
    node.wait_ready(peers=1)


def test_a_directory_that_the_unit_may_not_write_is_said(
    nodes: list[SystemdNode], elsewhere: str
) -> None:
    """Elsewhere below /etc: not READY, and journal and status have the reason and the two ways out."""
    node = nodes[1]
    told = "ReadWritePaths=DIRECTORY"
    wait_for(lambda: told in node.run("systemctl", "status", UNIT).out, "said", timeout_s=30)
    assert len([line for line in node.journal("-n", "20") if told in line]) == 1
    assert node.unit("ActiveState")["ActiveState"] == "activating"
    wait_for(lambda: node.overlayctl("status").code == 1, "the verdict", timeout_s=30)
    assert "Read-only file system" in node.overlayctl("status").out

    node.write(DROP_IN, f"[Service]\nReadWritePaths={elsewhere}\n")
    node.must("systemctl", "daemon-reload")
    node.must("systemctl", "restart", UNIT)
    assert node.root(f"{elsewhere}/10-overlay.conflist").exists()


def test_a_second_network_has_a_unit_of_its_own(lab: Lab, nodes: list[SystemdNode]) -> None:
    """overlay-agent@blue beside overlay-agent: each with its files, and neither hears of the other's stop."""
    node = nodes[1]
    lab.etcd.ctl(
        "put",
        "/blue/network/config",
        '{"Network":"10.66.0.0/16","Backend":{"Type":"vxlan","VNI":7,"Port":8473}}',
    )
    node.write(
        "/etc/overlay/blue.toml",
        f'etcd_endpoints = ["{lab.endpoints}"]\netcd_prefix = "/blue/network"\n',
    )
    node.must("systemctl", "start", "overlay-agent@blue")
    assert node.root("/run/overlay-blue/subnet.env").exists()
    assert node.root("/etc/cni/net.d/11-overlay-blue.conflist").exists()
    node.must("systemctl", "reload", "overlay-agent@blue")
    node.must("systemctl", "stop", "overlay-agent@blue")
    assert node.root("/run/overlay-blue/subnet.env").exists()
    assert node.overlayctl("status").code == 0
