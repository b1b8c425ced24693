"""An etcd cluster of three on its worst days: members killed, hung, parted; all of it restarted, cut off, slow.

In every case pings between all pods run at 20 a second and none is lost, and afterwards every node is healthy,
wants no change, and its kernel holds exactly what etcd says.
"""

import pytest

from e2e.cluster import CLIENT_PORT, Cluster
from e2e.cut import cut_off
from e2e.node import Node, wait_for
from e2e.pods import CniFailed, Pod
from e2e.stage import PATIENCE_S, NamespaceProxy, Stage, away

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Stage:
    """Three nodes with a pod each."""
    lab = cluster.lab
    made = Stage(lab, cluster.ctl)
    made.begin(*(lab.add_node(f"n{number}") for number in (1, 2, 3)))
    return made


def test_a_killed_member_is_left_for_another(stage: Stage, cluster: Cluster) -> None:
    """The one that an agent talks to."""
    member = cluster.serving(stage.agents[0])
    with stage.undisturbed():
        member.kill()
        stage.news()
        cluster.heal(member)


def test_a_hung_member_is_left_for_another(stage: Stage, cluster: Cluster) -> None:
    """Its kernel still takes connections, so only silence shows it."""
    member = cluster.serving(stage.agents[0])
    with stage.undisturbed():
        member.hang()
        stage.news()
        cluster.heal(member)


def test_a_member_parted_from_its_peers_is_left_for_another(stage: Stage, cluster: Cluster) -> None:
    """It still takes calls, and says that it has no leader instead of answering from the past."""
    member = cluster.serving(stage.agents[0])
    with stage.undisturbed():
        cluster.part(member)
        stage.news()
        cluster.heal(member)


def test_a_lease_that_ends_while_its_node_is_cut_off_is_claimed_again(stage: Stage) -> None:
    """The others drop it, it keeps its pods and takes no new ones; then it has the same subnet again."""
    node = stage.lab.add_node("short", lease_ttl="8s")
    others = stage.agents
    with stage.undisturbed(without=["short"]), stage.visiting(node) as pod:
        subnet, gateway = node.subnet, f"{node.vtep.rpartition('.')[0]}.1"
        refused = stage.lab.bare_pod(node)
        with cut_off(node.namespace, CLIENT_PORT):
            for other in others:
                wait_for(lambda it=other: not it.routes_to(subnet), "dropped", timeout_s=30)  # type: ignore[misc]
            assert pod.ping(gateway).ok
            wait_for(lambda: _refuses(node, refused), "pods are refused", timeout_s=20)
        for other in others:
            wait_for(lambda it=other: bool(it.routes_to(subnet)), "back", timeout_s=PATIENCE_S)  # type: ignore[misc]
        stage.rest()
        assert node.subnet == subnet
        assert pod.ping(stage.lab.pods[0].address).ok
        node.runtime.add(refused)


def _refuses(node: Node, pod: Pod) -> bool:
    """Whether an ADD is refused for the lease that may be somebody else's by now."""
    try:
        node.runtime.add(pod)
    except CniFailed as error:
        return error.code in (11, 50) and "lease" in error.message
    node.runtime.delete(pod)
    return False


def test_a_killed_leader_costs_an_election_and_nothing_else(stage: Stage, cluster: Cluster) -> None:
    """A renewal and a watch event wait for the new one."""
    member = cluster.leader()
    with stage.undisturbed():
        member.kill()
        assert cluster.leader() is not member  # which may lead again once it is back
        stage.news()
        cluster.heal(member)


def test_a_cluster_that_restarts_is_waited_for(stage: Stage, cluster: Cluster) -> None:
    """Pods come while it is away; nobody's kernel changes."""
    changes = [node.tell("status")["changes"] for node in stage.agents]
    with stage.undisturbed():
        cluster.stop()
        wait_for(lambda: any(map(away, stage.agents)), "it is said to be away", timeout_s=40)
        late = stage.lab.add_pod(stage.agents[0])
        assert late.ping(stage.lab.pods[1].address).ok
        cluster.start()
        stage.lab.remove_pod(late)
        stage.rest()
        assert [node.tell("status")["changes"] for node in stage.agents] == changes
        stage.news()


def test_an_etcd_that_takes_two_seconds_a_call_is_slow_and_nothing_worse(
    stage: Stage, cluster: Cluster
) -> None:
    """Renewals and events arrive; pods do not wait for it at all."""
    target = f"{cluster.members[1].address}:{CLIENT_PORT}"
    proxy = NamespaceProxy(stage.lab.fabric, "192.168.50.254:2999", target)
    stage.lab.clients.append(proxy)
    node = stage.lab.add_node("far", etcd_endpoints="http://192.168.50.254:2999", lease_ttl="12s")
    with stage.undisturbed(), stage.visiting(node):
        proxy.do("delay 1")
        stage.news()
        wait_for(lambda: node.tell("status")["lease"]["ttl_s"] == 12, "renewed", timeout_s=30)
        stage.lab.remove_pod(stage.lab.add_pod(node))
        wait_for(lambda: node.tell("status")["verdict"] == "healthy", "healthy", timeout_s=20)
        proxy.do("heal")
