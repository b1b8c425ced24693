"""An etcd that forgets: compacted, restored from an old snapshot, or empty. Its nodes know better, and tell it.

As in test_etcd_faults: no ping is lost, and all is at rest afterwards.
"""

from pathlib import Path

import pytest

from e2e import leasebook
from e2e.cluster import CLIENT_PORT, Cluster
from e2e.cut import cut_off
from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.node import wait_for
from e2e.stage import PATIENCE_S, Peer, Stage, away, knows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Stage:
    """Two nodes with a pod each; a third one joins later."""
    lab = cluster.lab
    made = Stage(lab, cluster.ctl)
    made.begin(*(lab.add_node(f"n{number}") for number in (1, 2)))
    return made


def _holders(stage: Stage) -> dict[str, str]:
    """Subnet by node, as etcd has it."""
    return {row.node: str(row.subnet) for row in leasebook.read(stage.ctl)}


def test_what_a_compaction_has_hidden_is_found_by_comparison(
    stage: Stage, cluster: Cluster
) -> None:
    """A peer with another MAC and address, and one that left, while a node heard nothing."""
    node, changed, left = stage.agents[0], Peer(201), Peer(202)
    with stage.undisturbed():
        stage.put(changed)
        stage.put(left)
        stage.everywhere(lambda it: knows(it, peer=left), "both are known")
        with cut_off(node.namespace, CLIENT_PORT):
            changed = Peer(201, version=2)
            stage.put(changed)
            stage.ctl("del", left.key)
            stage.ctl("compact", str(cluster.revision()))
            assert node.routes_to(left.subnet)
        stage.everywhere(lambda it: knows(it, peer=changed), "the new MAC is known")
        wait_for(lambda: not node.routes_to(left.subnet), "the other is gone", timeout_s=20)
        stage.ctl("del", changed.key)


def test_a_departure_is_heard_although_history_was_compacted_at_that_very_revision(
    stage: Stage, cluster: Cluster
) -> None:
    """etcd issue 18089: a stream that goes on right there is told nothing, and not that it misses anything."""
    node, left, last = stage.agents[0], Peer(203), Peer(204)
    with stage.undisturbed():
        stage.put(left)
        stage.put(last)  # the last that was heard of is still there
        node.stop_agent()
        stage.lab.start_nodes(node)  # nothing but one list was heard by now
        stage.everywhere(lambda it: knows(it, peer=last), "both are known")
        with cut_off(node.namespace, CLIENT_PORT):
            stage.ctl("del", left.key)
            stage.ctl("compact", str(cluster.revision()))
            assert node.routes_to(left.subnet)
        wait_for(lambda: not node.routes_to(left.subnet), "it is gone", timeout_s=PATIENCE_S)
        stage.ctl("del", last.key)


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
        wait_for(lambda: _holders(stage) == before, "all are in etcd again", timeout_s=PATIENCE_S)
        stage.news()


def test_an_etcd_that_comes_back_empty_is_told_all_again(stage: Stage, cluster: Cluster) -> None:
    """Nobody is removed; with the config back every node claims the subnet it had."""
    before = _holders(stage)
    # A node without a lease takes its page away, so the subnets are looked up while all hold theirs.
    ways = [
        (node, other.subnet) for node in stage.agents for other in stage.agents if node is not other
    ]
    with stage.undisturbed():
        cluster.wipe()
        stage.everywhere(lambda node: not away(node), "etcd is back")
        assert all(node.routes_to(subnet) for node, subnet in ways)
        stage.ctl("put", CONFIG_KEY, NETWORK)
        wait_for(lambda: _holders(stage) == before, "all are in etcd again", timeout_s=PATIENCE_S)
        stage.news()
