"""overlayctl doctor under a real systemd: a stopped, a disabled and a failing unit, and the journal in the archive."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import machines
from e2e.node import wait_for
from e2e.systemdnode import UNIT, SystemdNode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SECRET = "Zp9-hunter2-secret"


@pytest.fixture(scope="module")
def node(machine_layer: Path) -> Iterator[SystemdNode]:
    """Installed and serving, alone."""
    with machines.cluster(machine_layer, "n1") as (_, nodes):
        yield nodes[0]


def agents(node: SystemdNode, *more: str) -> tuple[int, list[str], dict[str, Any]]:
    """Exit code, ids of what is not well, and the whole answer, of the check of the agent."""
    said = node.overlayctl("doctor", "--only", "agent", "--output", "json", *more)
    answer: dict[str, Any] = json.loads(said.out)
    return said.code, [one["id"] for one in answer["findings"] if one["severity"] != "ok"], answer


def test_a_unit_that_is_disabled_stopped_or_failing(node: SystemdNode) -> None:
    """Each with the command that mends it; enabling is --fix's; the last words of a failing one are shown."""
    assert agents(node)[:2] == (0, [])

    node.must("systemctl", "disable", UNIT)
    assert agents(node)[:2] == (1, ["agent-not-enabled"])
    code, left, answer = agents(node, "--fix")
    assert (code, left) == (0, [])
    assert answer["fixes"][0]["fix"] == f"systemctl enable {UNIT}.service"
    assert node.unit("UnitFileState")["UnitFileState"] == "enabled"

    node.must("systemctl", "stop", UNIT)
    code, left, answer = agents(node)
    assert (code, left) == (2, ["agent-down"])
    assert f"systemctl start {UNIT}" in answer["findings"][0]["mend"]

    settings = node.root("/etc/overlay/agent.toml")
    good = settings.read_text()
    settings.write_text(f'{good}etcd_password = "{SECRET}"\nifcae = "x"\n')
    node.must("systemctl", "start", "--no-block", UNIT)
    wait_for(lambda: any("ifcae" in line for line in node.journal()), "it says why", timeout_s=20)
    code, left, answer = agents(node)
    assert code == 2
    assert left[0] == "settings-bad"
    assert {"agent-down", "agent-failed"} & set(left)
    assert "unknown key ifcae" in answer["findings"][1]["title"]

    settings.write_text(good)
    node.must("systemctl", "restart", UNIT)
    assert agents(node)[:2] == (0, [])


def test_the_archive_has_the_journal_without_what_somebody_let_slip_into_it(
    node: SystemdNode,
) -> None:
    """Words of the unit itself, by a drop-in that says too much."""
    drop_in = f"/run/systemd/system/{UNIT}.service.d/slip.conf"
    node.write(drop_in, f"[Service]\nExecStartPre=/bin/echo etcd_password = '{SECRET}'\n")
    node.must("systemctl", "daemon-reload")
    node.must("systemctl", "restart", UNIT)
    assert any(SECRET in line for line in node.journal())
    node.overlayctl("doctor", "--only", "agent", "--bundle", "/root/bundle.tar.gz")
    text = node.must("tar", "xzOf", "/root/bundle.tar.gz")
    assert "overlay-agent" in text
    assert "pods may be attached" in text
    assert SECRET not in text
