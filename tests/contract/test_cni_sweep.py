"""The agent's own sweep on a real kernel: the dead go after two looks, the living never, what is bent is mended."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.sweep import Sweep
from cni import collect, lock
from cni.steps import Steps
from overlay.netlink.namespace import run_inside
from tests.contract import spaces
from tests.contract.agent_settings import settings
from tests.contract.cni_node import NOTHING, OWNER, Node
from tests.contract.plugins import plugin, verbs
from tests.contract.spaces import inside, ip

pytestmark = pytest.mark.contract

Sweeper = tuple[Sweep, Callable[[], None]]


@pytest.fixture
def sweep(node: Node) -> Sweeper:
    """The sweep, and how to do one."""
    made = Sweep(settings(node), lambda: "")
    return made, lambda: run_inside(node.space, made.once)


def _journal(node: Node, container: str = "c1") -> Path:
    return node.run_dir / "attachments" / "overlay" / f"{container}@eth0.json"


@contextmanager
def _living_in(pod: Path) -> Iterator[None]:
    child = subprocess.Popen(["nsenter", f"--net={pod}", "--", "sleep", "60"])
    try:
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            pass
        yield
    finally:
        child.kill()
        child.wait()


@pytest.mark.row("R13", "56")
def test_the_dead_are_taken_away_at_the_second_look(node: Node, pod: Path, sweep: Sweeper) -> None:
    """Namespace gone without a DEL; the neighbour stays."""
    node.add(pod, container="alive")
    with spaces.namespace() as dying:
        node.add(dying)
    sweep[1]()
    assert OWNER.place in node.journals()
    sweep[1]()
    assert node.journals() == ["overlay/alive@eth0"]
    assert list(node.addresses().values()) == ["overlay/alive@eth0"]
    assert (sweep[0].collected, len(node.links())) == (1, 1)


@pytest.mark.row("R13")
def test_a_record_of_another_boot_is_a_dead_ones(node: Node, pod: Path, sweep: Sweeper) -> None:
    """Where the run directory outlived the machine, inode numbers prove nothing."""
    node.add(pod)
    record = json.loads(_journal(node).read_text())
    _journal(node).write_text(json.dumps({**record, "boot": "another"}))
    for _ in range(2):
        sweep[1]()
    assert node.left() == NOTHING


@pytest.mark.row("R13")
def test_a_pod_lives_while_anybody_lives_in_its_namespace(node: Node, sweep: Sweeper) -> None:
    """The runtime has taken the path away; only after the last process the pod is gone."""
    with spaces.namespace() as pod:
        node.add(pod)
        living = _living_in(pod)
        living.__enter__()
    try:
        for _ in range(3):
            sweep[1]()
        assert node.journals() == [OWNER.place]
    finally:
        living.__exit__(None, None, None)
    for _ in range(2):
        sweep[1]()
    assert node.left()[1] == []


@pytest.mark.row("R13")
def test_a_namespace_number_that_came_again_keeps_no_dead_pod(
    node: Node, other: Path, sweep: Sweeper
) -> None:
    """The next pod has it, and lives; the dead one's link has gone with its namespace."""
    with spaces.namespace() as dying:
        node.add(dying)
    node.settle(0)
    record = json.loads(_journal(node).read_text())
    number = {"netns_inode": other.stat().st_ino}
    _journal(node).write_text(json.dumps({**record, **number}))
    with _living_in(other):
        for _ in range(2):
            sweep[1]()
    assert node.left() == NOTHING


@pytest.mark.row("R13")
def test_a_living_pod_is_never_touched(dual: Node, pod: Path) -> None:
    """Not its link, not its record, not its addresses, however often one looks."""
    dual.add(pod)
    made = Sweep(settings(dual), lambda: "")
    before = dual.left(), spaces.picture(pod), spaces.picture(dual.space)
    for _ in range(4):
        run_inside(dual.space, made.once)
    assert (dual.left(), spaces.picture(pod), spaces.picture(dual.space)) == before
    assert (made.collected, made.mended, made.taken_in, made.faults) == (0, 0, 0, {})


@pytest.mark.row("R13", "16")
def test_what_a_verb_is_at_work_on_is_left_alone(node: Node, sweep: Sweeper) -> None:
    """It is looked at again later."""
    with spaces.namespace() as dying:
        node.add(dying)
    with lock.held(node.run_dir, OWNER.place, Steps()):
        for _ in range(3):
            sweep[1]()
        assert node.journals() == [OWNER.place]
    sweep[1]()
    assert node.journals() == []


@pytest.mark.row("R13")
def test_an_allocation_that_nobody_has_goes(node: Node, pod: Path, sweep: Sweeper) -> None:
    """Of an ADD that was killed between the address and the record; with a link it stays."""
    (node.run_dir / "ipam").mkdir()
    (node.run_dir / "ipam" / "10.5.1.9").symlink_to("overlay/c9@eth0")
    node.add(pod)
    for _ in range(2):
        sweep[1]()
    assert list(node.addresses()) == ["10.5.1.2"]


@pytest.mark.row("R13", "34")
@pytest.mark.parametrize("lost", ["all", "records", "record torn"])
def test_a_lost_record_is_written_again_and_nobody_gets_the_address(
    node: Node, pod: Path, other: Path, sweep: Sweeper, lost: str
) -> None:
    """The run directory is wiped under a living pod: one sweep later its address is held again."""
    node.add(pod)
    if lost == "all":
        shutil.rmtree(node.run_dir / "ipam")
    if lost == "record torn":
        _journal(node).write_text("{")
    else:
        shutil.rmtree(node.run_dir / "attachments")
    sweep[1]()
    result = node.add(other, container="c2")
    assert result["ips"][0]["address"] != "10.5.1.2/24"
    assert node.addresses()["10.5.1.2"] == OWNER.place
    inside(pod, "ping", "-c1", "-W9", "10.5.1.1")
    if lost != "record torn":
        assert sweep[0].taken_in == 1
        assert run_inside(node.space, lambda: collect.survey(node.run_dir)) == []
    assert node.call("DEL", pod) == {}
    assert list(node.addresses().values()) == ["overlay/c2@eth0"]


@pytest.mark.row("R13")
def test_an_address_that_a_second_pod_got_meanwhile_is_said(
    node: Node, pod: Path, other: Path, sweep: Sweeper, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the first sweep nobody could know; then it is named, and neither pod is harmed."""
    node.add(pod)
    shutil.rmtree(node.run_dir / "ipam")
    shutil.rmtree(node.run_dir / "attachments")
    node.add(other, container="c2")
    sweep[1]()
    assert "10.5.1.2 is held by overlay/c2@eth0" in caplog.text
    assert (len(node.links()), node.journals()) == (2, ["overlay/c2@eth0"])


@pytest.mark.row("R13", "37")
def test_a_pod_that_was_written_again_still_tells_its_ipam_plugin(
    node: Node, pod: Path, tmp_path: Path, sweep: Sweeper
) -> None:
    """The record does not know it any more; the configuration of the DEL does."""
    good = plugin(tmp_path / "bin", "good", answer={"ips": [{"address": "10.5.1.40/24"}]})
    conf = {"environ": {"CNI_PATH": str(good.parent)}, "ipam": {"type": "good"}}
    node.add(pod, **conf)
    shutil.rmtree(node.run_dir / "attachments")
    sweep[1]()
    assert (node.journals(), list(node.addresses())) == ([OWNER.place], ["10.5.1.40"])
    assert node.call("DEL", pod, **conf) == {}  # type: ignore[arg-type]
    assert verbs(good) == ["ADD", "DEL"]


@pytest.mark.row("R13")
def test_a_host_end_whose_pod_is_gone_goes_and_others_links_stay(
    node: Node, sweep: Sweeper
) -> None:
    """No record, and neither process nor path leads into its pod; a foreign link in the bridge is none of ours."""
    ip(
        node.space,
        *[
            "link",
            "add",
            "theirs0",
            "master",
            "overlay0",
            "type",
            "veth",
            "peer",
            "name",
            "theirs1",
        ],
    )
    with spaces.namespace() as pod:
        node.add(pod)
        shutil.rmtree(node.run_dir / "attachments")
        shutil.rmtree(node.run_dir / "ipam")
        kept = os.open(pod, os.O_RDONLY)  # or the kernel would take the link away by itself
    try:
        sweep[1]()
        assert node.links() == [OWNER.host_link]
        sweep[1]()
        assert (node.left(), sweep[0].collected) == (NOTHING, 1)
        assert "theirs0" in ip(node.space, "link")
    finally:
        os.close(kept)


@pytest.mark.row("R17", "R13")
@pytest.mark.parametrize("bend", ["down", "nomaster", "nomaster down"])
def test_the_hosts_side_is_put_right(
    node: Node, pod: Path, sweep: Sweeper, caplog: pytest.LogCaptureFixture, bend: str
) -> None:
    """At the first look, and said once."""
    node.add(pod)
    ip(node.space, "link", "set", OWNER.host_link, *bend.split())
    for _ in range(2):
        sweep[1]()
    assert (sweep[0].mended, sweep[0].faults) == (1, {})
    assert caplog.text.count("is down" if bend == "down" else "is not in bridge overlay0") == 1
    inside(pod, "ping", "-c1", "-W9", "10.5.1.1")


@pytest.mark.row("R17")
def test_the_pods_side_is_reported_and_left_alone(
    node: Node, pod: Path, sweep: Sweeper, caplog: pytest.LogCaptureFixture
) -> None:
    """A person in the pod may know why; said once, gone when it is gone."""
    node.add(pod)
    ip(pod, *["addr", "del", "10.5.1.2/24", "dev", "eth0"])
    for _ in range(2):
        sweep[1]()
    assert sweep[0].faults == {OWNER.place: ("address 10.5.1.2/24 is gone from eth0",)}
    assert caplog.text.count("is gone from eth0") == 1
    assert sweep[0].mended == 0
    ip(pod, *["addr", "add", "10.5.1.2/24", "dev", "eth0"])
    sweep[1]()
    assert sweep[0].report()["faults"] == {}


@pytest.mark.row("R13")
@pytest.mark.parametrize("change", [{"addresses": ["x"]}, {"mtu": "x"}, {"bridge": "b" * 99}])
def test_a_hostile_record_stops_nothing(
    node: Node, pod: Path, other: Path, sweep: Sweeper, change: dict[str, object]
) -> None:
    """The others are looked after, the pod keeps its address, and its DEL leaves nothing."""
    node.add(pod)
    node.add(other, container="c2")
    with spaces.namespace() as dying:
        node.add(dying, container="c3")
    record = json.loads(_journal(node).read_text())
    _journal(node).write_text(json.dumps({**record, **change}))
    for _ in range(2):
        sweep[1]()
    assert "overlay/c3@eth0" not in node.journals()
    assert node.addresses()["10.5.1.2"] == OWNER.place
    assert node.call("DEL", pod) == {}
    assert list(node.addresses().values()) == node.journals() == ["overlay/c2@eth0"]


@pytest.mark.row("R13")
def test_without_a_node_page_the_pods_are_still_looked_after(node: Node, sweep: Sweeper) -> None:
    """The lease is lost; the dead go all the same."""
    with spaces.namespace() as dying:
        node.add(dying)
    (node.run_dir / "node.json").unlink()
    for _ in range(2):
        sweep[1]()
    assert node.journals() == []
