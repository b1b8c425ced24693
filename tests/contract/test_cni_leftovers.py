"""What the sweep and overlayctl gc take for left over, and what they let alone."""

from pathlib import Path

import pytest

from cni import lock
from cni.owner import Owner
from cni.steps import Steps
from tests.contract import spaces
from tests.contract.cni_node import Node
from tests.contract.faults import Faulty

pytestmark = pytest.mark.contract


@pytest.fixture
def faulty(space: Path, tmp_path: Path) -> Faulty:
    """A node that is ready."""
    return Faulty(Node(space, tmp_path))


def test_a_dead_pods_namespace_number_that_came_again_keeps_nothing(faulty: Faulty) -> None:
    """The kernel gives the lowest free one to the next namespace, in which processes may live at once."""
    with spaces.namespace() as pod:
        faulty.call("ADD", pod, "c1")
    path = faulty.node.run_dir / "attachments/overlay/c1@eth0.json"
    faulty.wait_for_links(0)
    reused = Path("/proc/self/ns/net").stat().st_ino
    path.write_text(path.read_text().replace('"netns_inode":', f'"netns_inode":{reused},"was":'))

    faulty.sweep()

    assert faulty.files() == []


def test_a_pod_whose_path_is_gone_but_whose_processes_live_stays(faulty: Faulty) -> None:
    """Its veth is the proof: as long as it is there somebody may answer for the address."""
    with spaces.namespace() as pod:
        faulty.call("ADD", pod, "c1")
        path = faulty.node.run_dir / "attachments/overlay/c1@eth0.json"
        reused = Path("/proc/self/ns/net").stat().st_ino
        path.write_text(
            path.read_text()
            .replace('"netns_inode":', f'"netns_inode":{reused},"was":')
            .replace(str(pod), "/run/netns/none")
        )
        before = faulty.files()

        faulty.sweep()

        assert (faulty.files(), len(faulty.links())) == (before, 1)
        assert faulty.call("DEL", pod, "c1") == {}


def test_gc_lets_an_add_alone_that_has_not_written_its_journal_yet(faulty: Faulty) -> None:
    """Its address would be given to the next pod as well."""
    run_dir, place = faulty.node.run_dir, Owner("overlay", "c1", "eth0").place
    (run_dir / "ipam").mkdir()
    (run_dir / "ipam/10.5.1.9").symlink_to(place)
    valid = {"cni.dev/valid-attachments": [{"containerID": "other", "ifname": "eth0"}]}

    with lock.held(run_dir, place, Steps()):  # stands for the ADD at work
        assert faulty.call("GC", "", "", **valid) == {}
        assert faulty.files() == ["ipam/10.5.1.9"]

    assert faulty.call("GC", "", "", **valid) == {}
    assert faulty.files() == []


def test_a_record_that_names_another_attachment_costs_it_nothing(faulty: Faulty) -> None:
    """A copy of it under a dead pod's name is no reason to take the living one's link away."""
    with spaces.namespace() as pod:
        faulty.call("ADD", pod, "c1")
        room = faulty.node.run_dir / "attachments/overlay"
        copy = (room / "c1@eth0.json").read_text().replace(str(pod), "/run/netns/none")
        (room / "dead@eth0.json").write_text(copy)

        faulty.sweep()

        assert len(faulty.links()) == 1
        assert not (room / "dead@eth0.json").exists()
        assert faulty.call("DEL", pod, "c1") == {}


AS_IPAM = {"type": "bridge", "ipam": {"type": "overlay"}}


def test_an_address_under_another_plugin_outlives_its_journal(faulty: Faulty) -> None:
    """No link of ours speaks for that pod, so nothing proves it gone; its DEL still frees it."""
    with spaces.namespace() as pod:
        faulty.call("ADD", pod, "c1", **AS_IPAM)
        (faulty.node.run_dir / "attachments/overlay/c1@eth0.json").unlink()
        before = faulty.files()

        faulty.sweep()

        assert faulty.files() == before != []
        assert faulty.call("DEL", pod, "c1", **AS_IPAM) == {}
        assert faulty.files() == []


def test_an_address_under_another_plugin_goes_with_its_pods_namespace(faulty: Faulty) -> None:
    """The journal alone knows the namespace."""
    with spaces.namespace() as pod:
        faulty.call("ADD", pod, "c1", **AS_IPAM)

    faulty.sweep()

    assert faulty.files() == []
