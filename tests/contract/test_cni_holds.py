"""An allocation that was lost while its journal was not: the sweep makes it again, from what the journal says. And a
pod that comes while it looks has lost nothing."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from agent.sweep import Sweep
from cni import strays
from overlay.netlink import link_messages
from overlay.netlink.namespace import run_inside
from tests.contract.agent_settings import settings
from tests.contract.cni_node import NOTHING, OWNER, Node

pytestmark = pytest.mark.contract


@pytest.fixture
def sweep(node: Node) -> Callable[[], None]:
    """One look of an agent's."""
    made = Sweep(settings(node), lambda: "")
    return lambda: run_inside(node.space, made.once)


@pytest.mark.row("R13", "34")
def test_a_living_pods_address_is_held_again_and_nobody_gets_it(
    dual: Node, pod: Path, other: Path
) -> None:
    """Of both families; DEL leaves nothing."""
    dual.add(pod)
    before = dual.addresses()
    shutil.rmtree(dual.run_dir / "ipam")
    run_inside(dual.space, Sweep(settings(dual), lambda: "").once)
    assert dual.addresses() == before
    given = {item["address"].partition("/")[0] for item in dual.add(other, container="c2")["ips"]}
    assert not given & before.keys()
    for container, space in (("c1", pod), ("c2", other)):
        assert dual.call("DEL", space, container=container) == {}
    assert dual.left() == NOTHING


@pytest.mark.row("R13")
def test_an_address_that_a_second_pod_got_meanwhile_is_said(
    node: Node,
    pod: Path,
    other: Path,
    sweep: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither pod is harmed, and what the second one has stays its."""
    node.add(pod)
    shutil.rmtree(node.run_dir / "ipam")
    node.add(other, container="c2")
    before = node.left()
    sweep()
    assert f"10.5.1.2 is held by overlay/c2@eth0, and used by {OWNER.place}" in caplog.text
    assert node.left() == before


@pytest.mark.row("69")
def test_another_plugins_address_is_told_from_one_with_a_link_of_ours(
    node: Node, pod: Path, sweep: Callable[[], None]
) -> None:
    """As before; an old subnet's address, which nobody can be given, is let alone."""
    node.add(pod, type="bridge", ipam={"type": "overlay"})
    before = node.addresses()
    shutil.rmtree(node.run_dir / "ipam")
    sweep()
    assert node.addresses() == before
    journal = node.run_dir / "attachments" / f"{OWNER.place}.json"
    journal.write_text(journal.read_text().replace("10.5.1.2/", "10.5.9.2/"))
    sweep()
    assert node.addresses() == before


@pytest.mark.row("16")
def test_a_pod_that_comes_between_two_looks_is_no_stray(node: Node, pod: Path) -> None:
    """Its link is seen without its journal: that is looked for once more before it counts as lost."""
    answers: list[dict[str, object]] = []

    def come(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is link_messages.link_dump.__code__ and not answers:
            answers.append({})
            answers.append(node.add(pod))

    threading.setprofile(come)
    try:
        found = run_inside(node.space, lambda: strays.survey(node.run_dir, "overlay0"))
    finally:
        threading.setprofile(None)
    assert "ips" in answers[1]
    assert found == []
