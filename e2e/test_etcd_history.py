"""An etcd that forgets: restored from an old snapshot, or empty. Its nodes know better, and tell it.

As in test_etcd_faults: no ping is lost, and all is at rest afterwards.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import leasebook
from e2e.cluster import Cluster
from e2e.etcdserver import CONFIG_KEY
from e2e.lab import MEMORY, Lab
from e2e.node import wait_for
from e2e.stage import Stage, away
from overlay.netconfig import EXAMPLE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three members."""
    with Lab(root=MEMORY) as lab:
        made = Cluster(lab)
        made.start()
        yield made


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Stage:
    """Three nodes with a pod each."""
    lab = cluster.lab
    made = Stage(lab, cluster.ctl)
    made.begin(*(lab.add_node(f"n{number}") for number in (1, 2)))
    return made


def _holders(stage: Stage) -> dict[str, str]:
    """Subnet by node, as etcd has it."""
    return {row.node: str(row.subnet) for row in leasebook.read(stage.ctl)}


def test_a_snapshot_that_is_restored_costs_no_node_its_traffic(
    stage: Stage, cluster: Cluster, tmp_path: Path
) -> None:
    """The one that joined later is missing in it: the others keep it, and it comes back by itself."""
    cluster.members[0].save(tmp_path / "snapshot")
    stage.join(stage.lab.add_node("n3"))
    stage.news()
    before = _holders(stage)
    with stage.undisturbed():
        cluster.restore(tmp_path / "snapshot")
        wait_for(lambda: _holders(stage) == before, "all are in etcd again", timeout_s=60)
        stage.news()


def test_an_etcd_that_comes_back_empty_is_told_all_again(stage: Stage, cluster: Cluster) -> None:
    """Nobody is removed; with the config back every node claims the subnet it had."""
    before = _holders(stage)
    with stage.undisturbed():
        cluster.wipe()
        stage.everywhere(lambda node: not away(node), "etcd is back")
        assert all(
            node.routes_to(other.subnet)
            for node in stage.agents
            for other in stage.agents
            if node is not other
        )
        stage.ctl("put", CONFIG_KEY, EXAMPLE)
        wait_for(lambda: _holders(stage) == before, "all are in etcd again", timeout_s=60)
        stage.news()
