"""overlayctl gc and ipam on a real kernel: what is said, what is done, and the exit codes."""

import inspect
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agent.ctl import main as overlayctl
from cni import lock
from cni.steps import Steps
from overlay.netlink.namespace import run_inside
from tests.contract import spaces
from tests.contract.agent_settings import words
from tests.contract.cni_node import NOTHING, OWNER, Node
from tests.contract.plugins import plugin, verbs
from tests.contract.spaces import ip

pytestmark = pytest.mark.contract

Ctl = Callable[..., tuple[int, str, str]]
LOCKING = inspect.unwrap(lock.tried).__code__


@pytest.fixture
def ctl(node: Node, capsys: pytest.CaptureFixture[str]) -> Ctl:
    """(exit code, stdout, stderr) of one call on the node."""

    def call(*given: str) -> tuple[int, str, str]:
        verb, *rest = given
        line = [verb, *words(node), *rest]
        capsys.readouterr()
        code = run_inside(node.space, lambda: overlayctl.main(line))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def _json(said: tuple[int, str, str]) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(said[1])


@pytest.fixture
def mixed(node: Node, pod: Path) -> Node:
    """c1 lives; c3 is dead; an address has no attachment."""
    node.add(pod)
    with spaces.namespace() as dying:
        node.add(dying, container="c3")
    (node.run_dir / "ipam" / "10.5.1.9").symlink_to("overlay/c9@eth0")
    node.settle(1)
    return node


@pytest.mark.row("R13")
def test_a_dry_run_says_what_and_why_and_changes_nothing(mixed: Node, ctl: Ctl) -> None:
    """And what to run next."""
    before = mixed.left()
    code, out, err = ctl("gc", "--dry-run")
    assert (code, err, mixed.left()) == (0, "", before)
    assert "overlay/c3@eth0" in out
    assert "is gone" in out
    assert "overlay/c9@eth0" in out
    assert "c1@eth0" not in out
    assert "left over: 2; to take it away: overlayctl gc" in out


@pytest.mark.row("R13")
def test_gc_takes_the_dead_away_and_no_other(mixed: Node, ctl: Ctl) -> None:
    """After two looks; a second run finds nothing."""
    code, out, _ = ctl("gc")
    assert (code, out.count("taken away")) == (0, 2)
    assert (mixed.journals(), list(mixed.addresses())) == ([OWNER.place], ["10.5.1.2"])
    assert ctl("gc")[:2] == (0, "nothing is left over\n")
    assert _json(ctl("gc", "--output", "json")) == []


@pytest.mark.row("R13")
def test_gc_for_machines_and_what_it_cannot_take_away(node: Node, ctl: Ctl, tmp_path: Path) -> None:
    """Code 1 where something stays: its IPAM plugin refuses."""
    fussy = plugin(
        tmp_path / "bin",
        "fussy",
        answer={"ips": [{"address": "10.5.1.40/24"}]},
        fails={"DEL": (9, "not today")},
    )
    with spaces.namespace() as dying:
        node.add(dying, ipam={"type": "fussy"}, environ={"CNI_PATH": str(fussy.parent)})
    node.settle(0)
    said = ctl("gc", "--output", "json")
    (row,) = _json(said)
    assert (said[0], row["attachment"], row["what"]) == (1, OWNER.place, "10.5.1.40")
    assert row["done"] == "failed: ipam plugin fussy: not today"
    assert node.journals() == [OWNER.place]


@pytest.mark.row("R13")
def test_show_lists_address_pod_and_state(mixed: Node, ctl: Ctl) -> None:
    """By number, with what is left free; the same as JSON."""
    code, out, _ = ctl("ipam", "show")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == [
        "ADDRESS",
        "POD",
        "CONTAINER",
        "IFNAME",
        "NETWORK",
        "SINCE",
        "STATE",
    ]
    assert [line.split()[0] for line in lines[1:4]] == ["10.5.1.2", "10.5.1.3", "10.5.1.9"]
    assert lines[4] == "10.5.1.0/24: 3 held, 250 free"
    rows = _json(ctl("ipam", "show", "--output", "json"))
    assert [row["state"] for row in rows] == ["in use", "pod is gone", "no attachment"]
    assert (rows[0]["pod"], rows[0]["container"]) == ("default/web", "c1")


@pytest.mark.row("R13", "42")
def test_check_finds_what_does_not_agree(node: Node, pod: Path, ctl: Ctl) -> None:
    """Code 0 and one line where all agrees; else 1 and a line for each fault."""
    node.add(pod)
    assert ctl("ipam", "check") == (0, "journals and allocations agree\n", "")
    room = node.run_dir / "ipam"
    (room / "10.5.1.2").unlink()
    (room / "10.5.1.2").symlink_to("overlay/c7@eth0")
    (room / "10.9.9.9").symlink_to("overlay/c8@eth0")
    (room / "10.5.1.50").write_text("")
    (node.run_dir / "attachments" / "overlay" / "c6@eth0.json").write_text("{")
    said = ctl("ipam", "check", "--output", "json")
    faults = "\n".join(_json(said))
    assert said[0] == 1
    for words_ in (
        "10.5.1.2/24 of overlay/c1@eth0 is held by overlay/c7@eth0",
        "10.5.1.2 is held by overlay/c7@eth0, which has no record",
        "10.9.9.9 of overlay/c8@eth0 is outside of this node's subnet",
        "10.5.1.50 is no allocation",
        "the record of overlay/c6@eth0 cannot be read",
    ):
        assert words_ in faults


@pytest.mark.row("R13")
@pytest.mark.parametrize("target", ["10.5.1.9", "c9", "c9@eth0"])
def test_release_frees_by_address_or_container(mixed: Node, ctl: Ctl, target: str) -> None:
    """What nobody has goes without force."""
    code, out, _ = ctl("ipam", "release", target)
    assert code == 0
    assert "overlay/c9@eth0" in out
    assert list(mixed.addresses()) == ["10.5.1.2", "10.5.1.3"]


@pytest.mark.row("R13")
def test_release_of_a_living_pods_address_needs_force(node: Node, pod: Path, ctl: Ctl) -> None:
    """With it the pod loses its network, and the pod's runtime may still DEL it."""
    node.add(pod)
    code, _, err = ctl("ipam", "release", "10.5.1.2")
    assert (code, "is in use by default/web" in err) == (1, True)
    assert node.journals() == [OWNER.place]
    said = ctl("ipam", "release", "10.5.1.2", "--force", "--output", "json")
    assert _json(said) == {"released": OWNER.place, "addresses": ["10.5.1.2/24"]}
    assert node.left() == NOTHING
    assert "eth0" not in ip(pod, "link")
    assert node.call("DEL", pod) == {}


@pytest.mark.row("16")
def test_release_does_not_come_between_a_verb(mixed: Node, ctl: Ctl) -> None:
    """A runtime at work on it is told of."""
    with lock.held(mixed.run_dir, "overlay/c9@eth0", Steps()):
        code, _, err = ctl("ipam", "release", "c9")
    assert (code, "a runtime is at work" in err) == (2, True)


@pytest.mark.row("16")
def test_release_takes_nothing_from_a_pod_that_came_meanwhile(
    mixed: Node, other: Path, ctl: Ctl
) -> None:
    """A runtime repeats an ADD that was killed, just before the attachment is locked."""
    came: list[dict[str, Any]] = []

    def come(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is LOCKING and not came:
            came.append({})
            came.append(mixed.add(other, container="c9"))

    threading.setprofile(come)
    try:
        code, _, err = ctl("ipam", "release", "10.5.1.9")
    finally:
        threading.setprofile(None)
    assert "ips" in came[1]
    assert (code, "is in use by default/web" in err) == (1, True)
    assert "overlay/c9@eth0" in mixed.journals()
    assert "eth0" in ip(other, "link")


@pytest.mark.row("R13")
def test_release_by_force_takes_the_link_of_a_long_name(node: Node, pod: Path, ctl: Ctl) -> None:
    """A digest stands for the name, so that only the record tells whose the link is."""
    node.add(pod, container="c" * 210)
    assert ctl("ipam", "release", "10.5.1.2", "--force")[0] == 0
    assert node.left() == NOTHING


@pytest.mark.parametrize(
    ("target", "words_"),
    [
        ([], "release needs an address"),
        (["10.5.1.77"], "10.5.1.77 is not held by anybody"),
        (["zz"], "no attachment begins with 'zz'"),
        (["c"], "3 attachments begin with 'c'"),
    ],
)
def test_release_of_nothing_is_wrong_usage(
    mixed: Node, ctl: Ctl, target: list[str], words_: str
) -> None:
    """Code 64 and what is wrong."""
    code, _, err = ctl("ipam", "release", *target)
    assert (code, words_ in err) == (64, True)


@pytest.mark.row("37")
def test_release_tells_the_ipam_plugin(node: Node, pod: Path, ctl: Ctl, tmp_path: Path) -> None:
    """The one that gave the address."""
    good = plugin(tmp_path / "bin", "good", answer={"ips": [{"address": "10.5.1.40/24"}]})
    node.add(pod, ipam={"type": "good"}, environ={"CNI_PATH": str(good.parent)})
    assert ctl("ipam", "release", "10.5.1.40", "--force")[0] == 0
    assert verbs(good) == ["ADD", "DEL"]
    assert node.left() == NOTHING
