"""overlayctl install and uninstall on a machine with a real systemd."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import machines
from e2e.lab import Lab
from e2e.netns import difference, picture
from e2e.node import wait_for
from e2e.systemdnode import UNIT, SystemdNode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PLACES = ("/etc", "/opt/cni", "/usr/local", "/var/lib", "/run/overlay")
COPY = "/var/lib/overlay/last-good.json"
INSTALLED = "/opt/overlay/bin/overlayctl"
"""By its own path: /usr/local/bin/overlayctl is one of the files that come and go."""


def files(node: SystemdNode) -> list[str]:
    """What a machine has where we lay anything down, with modes and sizes; moments that a copy tells vary in length."""
    form = "%y %m %s %p\\n"
    said = node.run("find", *PLACES, "-not", "-type", "d", "-printf", form)
    quiet = [line for line in said.out.splitlines() if "/var/lib/systemd/" not in line]
    return sorted(COPY if line.endswith(f" {COPY}") else line for line in quiet)


def answered(node: SystemdNode, verb: str, *flags: str) -> tuple[int, dict[str, Any]]:
    """Its exit code and answer."""
    said = node.run(INSTALLED, verb, "--output", "json", *flags)
    assert said.out, said.err
    return said.code, json.loads(said.out)


@pytest.fixture(scope="module")
def site(machine_layer: Path) -> Iterator[tuple[Lab, SystemdNode]]:
    """One machine, installed and ready."""
    with machines.cluster(machine_layer, "n1") as (lab, nodes):
        yield lab, nodes[0]


def test_a_second_run_finds_all_as_it_should_be(site: tuple[Lab, SystemdNode]) -> None:
    """Nothing is written, nothing started anew."""
    _, node = site
    copy = node.root(COPY)
    wait_for(copy.exists, "the last-good copy is written", timeout_s=20)
    before, agent = files(node), node.agent

    _, answer = answered(node, "install")

    assert {file["action"] for file in answer["files"]} == {"unchanged"}
    assert (answer["programs"], answer["ready"]) == ([], True)
    assert (files(node), node.agent) == (before, agent)


def test_new_settings_are_what_the_agent_is_started_anew_with(
    site: tuple[Lab, SystemdNode],
) -> None:
    """READY is that of the new one; the pod keeps its attachment."""
    _, node = site
    agent, pod = node.agent, node.add_pod()

    _, answer = answered(node, "install", "--sweep-interval", "7s")

    assert [act["words"][1] for act in answer["programs"]] == ["restart"]
    assert answer["ready"] is True
    assert node.agent not in (0, agent)
    assert pod.ping(node.subnet.replace("0/24", "1"), count=2).ok
    assert 'sweep_interval = "7s"' in node.root("/etc/overlay/agent.toml").read_text()
    node.remove_pod(pod)


def test_uninstalled_the_machine_is_what_it_was_and_can_be_installed_anew(
    site: tuple[Lab, SystemdNode],
) -> None:
    """Units, files, kernel and etcd; the second installation, without an etcd, says what it waits for."""
    lab, node = site
    made = {
        "05-overlay",
        "overlay-agent",
        "/opt/cni",
        "/var/lib/overlay",
        "/etc/overlay",
        "/run/overlay",
    }

    code, answer = answered(node, "uninstall")

    assert (code, answer["residue"]) == (0, [])
    assert not [line for line in files(node) if any(part in line for part in made)]
    assert not node.root("/usr/local/bin/overlayctl").is_symlink()
    assert node.unit("LoadState") == {"LoadState": "not-found"}
    assert not [line for line in picture(node.namespace)["links"] if "overlay" in line]
    assert not lab.etcd.ctl("get", "--prefix", "--keys-only", "/coreos.com/network/subnets").strip()
    bare = picture(node.namespace)

    code, answer = answered(
        node, "install", "--etcd-endpoints", "http://192.168.50.254:1", "--timeout", "12"
    )
    assert (code, answer["ready"]) == (1, False)
    assert "etcd" in str(answer["waiting_for"])
    assert node.unit("ActiveState") == {"ActiveState": "activating"}

    code, answer = answered(node, "uninstall")
    assert [left for left in answer["residue"] if "etcd" not in left["what"]] == []
    assert code == 1
    assert node.root("/etc/overlay/agent.toml").exists(), (
        "without it a second run would not know etcd"
    )
    assert difference(bare, picture(node.namespace)) == []
    wait_for(lambda: node.unit("ActiveState")["ActiveState"] == "inactive", UNIT, timeout_s=20)
