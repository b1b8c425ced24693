"""STATUS: ready exactly when an ADD would be served; else 50 or 51 with the reason, at once."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agent.standing import PATIENCE_S, SILENT_S, NodeStanding
from cni.standing import NO_AGENT, Standing
from tests.contract.cni_node import READY_NODE, V6, Node
from tests.contract.plugins import plugin

pytestmark = pytest.mark.contract


def _status(node: Node, standing: Standing | None = None, **config: Any) -> dict[str, Any]:  # noqa: ANN401
    none = {"CNI_CONTAINERID": "", "CNI_IFNAME": "", "CNI_NETNS": "", "CNI_ARGS": ""}
    return node.call("STATUS", environ=none, standing=standing or READY_NODE, **config)


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.row("48", "54")
def test_a_ready_node_is_silent(node: Node) -> None:
    """Without container, interface, namespace or CNI_ARGS."""
    assert _status(node) == {}


@pytest.mark.row("48", "49", "50")
def test_no_agent_is_50(node: Node) -> None:
    """With the command that shows it."""
    error = _status(node, NO_AGENT)
    assert (error["code"], "overlay-agent" in error["msg"]) == (50, True)
    assert error["details"] == "systemctl status overlay-agent"


@pytest.mark.row("49", "50")
@pytest.mark.parametrize(
    ("event", "code", "words"),
    [
        ("lease lost", 50, "the lease was lost: somebody has it"),
        ("never in sync", 50, "the first clean apply is still to come"),
        ("out of sync", 51, "the data plane has not been in sync for 11 s: 10.5.2.0-24: EBUSY"),
        ("hung", 51, "the reconcile loop has hung for 31 s"),
        ("busy", 0, ""),
    ],
)
def test_what_the_agent_knows_is_said(node: Node, event: str, code: int, words: str) -> None:
    """51 where running pods may suffer; a short disorder is none."""
    clock = Clock()
    kept = NodeStanding(clock)
    if event != "never in sync":
        kept.turned(in_sync=True, trouble=("", ""))
    if event in ("out of sync", "busy"):
        clock.now += PATIENCE_S + 1 if event == "out of sync" else PATIENCE_S - 1
        kept.turned(in_sync=False, trouble=("10.5.2.0-24", "EBUSY"))
    if event == "hung":
        clock.now += SILENT_S + 1
    missing = "the lease was lost: somebody has it" if event == "lease lost" else ""
    answer = _status(node, kept.now(lease_missing=missing))
    assert answer.get("code", 0) == code
    assert words in answer.get("msg", "")


@pytest.mark.row("49", "50")
def test_a_family_without_a_free_address_is_50(node: Node, space: Path) -> None:
    """With the subnet and the count; the other family having some does not help."""
    room = node.run_dir / "ipam"
    room.mkdir()
    for last in range(2, 255):
        (room / f"10.5.1.{last}").symlink_to(f"overlay/x{last}@eth0")
    node.families = (*node.families, V6)
    node.publish(mtu=1450)
    error = _status(node)
    assert (error["code"], "no free address in 10.5.1.0/24: 253 are held" in error["msg"]) == (
        50,
        True,
    )
    (room / "10.5.1.99").unlink()
    assert _status(node) == {}


@pytest.mark.row("50")
def test_no_node_page_is_50_and_not_11(node: Node) -> None:
    """STATUS has its own codes."""
    (node.run_dir / "node.json").unlink()
    error = _status(node)
    assert (error["code"], "node.json" in error["details"]) == (50, True)


@pytest.mark.row("51", "52", "R16")
@pytest.mark.parametrize("code", [50, 51])
def test_add_and_del_are_served_whatever_status_says(node: Node, pod: Path, code: int) -> None:
    """A node whose agent is out of step still lets a pod in and out by the node page's last word."""
    bad = Standing(code, "something")
    assert _status(node, bad)["code"] == code
    node.add(pod, standing=bad)
    assert node.call("DEL", pod, standing=bad) == {}


@pytest.mark.row("53")
def test_the_ipam_plugin_is_asked_and_its_error_is_ours(node: Node, tmp_path: Path) -> None:
    """Its code and its words; one that is ready is silent, one that is not there is 50."""
    path = plugin(tmp_path / "bin", "fussy", fails={"STATUS": (51, "the pool is on fire")})
    environ = {"CNI_PATH": str(path.parent)}
    plugin(tmp_path / "bin", "calm")
    error = node.call("STATUS", environ=environ, ipam={"type": "fussy"})
    assert (error["code"], "the pool is on fire" in error["msg"]) == (51, True)
    assert node.call("STATUS", environ=environ, ipam={"type": "calm"}) == {}
    absent = node.call("STATUS", environ=environ, ipam={"type": "absent"})
    assert (absent["code"], "absent is in none of" in absent["msg"]) == (50, True)


@pytest.mark.row("55")
def test_our_own_state_comes_before_the_ipam_plugins(node: Node, tmp_path: Path) -> None:
    """A node that cannot serve starts no program to say so."""
    path = plugin(tmp_path / "bin", "calm")
    node.call(
        "STATUS",
        environ={"CNI_PATH": str(path.parent)},
        standing=dataclasses.replace(NO_AGENT, reason="r"),
        ipam={"type": "calm"},
    )
    assert not (tmp_path / "bin" / "calm.calls").exists()
