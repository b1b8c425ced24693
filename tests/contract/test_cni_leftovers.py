"""What the sweep and overlayctl gc take for left over, and what they let alone."""

from pathlib import Path

import pytest

from tests.contract import spaces
from tests.contract.faults import Faulty
from tests.contract.test_cni_kernel import Node

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
