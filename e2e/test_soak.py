"""The soak's judge can tell: what is planted is counted, and ends with exit code 1."""

from collections.abc import Iterator

import pytest

from e2e.etcdserver import SUBNETS
from e2e.lab import MEMORY, Lab
from e2e.node import Node
from e2e.soak import Soak
from e2e.stage import Peer, Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PATIENCE_S = 1.5
"""What is planted does not go away."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Two nodes with a pod each, on one etcd."""
    with Lab(root=MEMORY) as lab:
        lab.etcd.start()
        made = Stage(lab, lab.etcd.ctl)
        made.begin(lab.add_node("n1"), lab.add_node("n2"))
        yield made


@pytest.fixture
def soak(stage: Stage) -> Soak:
    """Nothing counted so far."""
    return Soak(stage, settle_s=PATIENCE_S, flow_s=PATIENCE_S)


def _nothing(_node: Node) -> None:
    """A fault that is none."""


def test_a_good_run_ends_with_zero(stage: Stage) -> None:
    """So that the others mean something."""
    soak = Soak(stage)
    soak.once(_nothing, stage.agents[0], without=())

    assert soak.tally.wrong == []
    assert soak.tally.code(soak.stage.pings.total) == 0


def test_a_subnet_that_is_leased_twice_is_counted(soak: Soak, stage: Stage) -> None:
    """A record of another node that overlaps the one of the first."""
    node = stage.agents[0]
    key = f"{SUBNETS}{node.subnet.partition('/')[0]}-23"

    def plant(_node: Node) -> None:
        stage.ctl("put", key, '{"PublicIP":"192.168.50.77"}')

    try:
        soak.once(plant, node, without=())
    finally:
        stage.ctl("del", key)

    assert soak.tally.double >= 1
    assert soak.tally.code(soak.stage.pings.total) == 1
    assert f"double_leases={soak.tally.double}" in soak.tally.line(1, stage.pings.total)


def test_a_route_that_is_missing_is_found_without_the_agent(soak: Soak, stage: Stage) -> None:
    """The agent is stopped, so that nobody puts it back; its pod's pings are lost and counted."""
    one, two = stage.lab.nodes["n1"], stage.lab.nodes["n2"]
    gone = f"n1: route {two.subnet} via {two.vtep} missing"

    def plant(node: Node) -> None:
        node.stop_agent()
        node.namespace.ip(f"route del {two.subnet}")
        stage.news()
        assert stage.differences(node) == [gone]

    try:
        soak.once(plant, one, without=())
    finally:
        one.start_agent()
        stage.lab.record()
        one.wait_ready()

    lost = stage.pings.total.lost
    assert lost > 0
    assert soak.tally.code(stage.pings.total) == 1
    assert any("pings lost: {'pod1→pod2'" in text for text in soak.tally.wrong)


def test_a_ping_that_is_lost_between_two_faults_is_counted(soak: Soak, stage: Stage) -> None:
    """While the judge looks, say."""
    one, two = stage.lab.nodes["n1"], stage.lab.nodes["n2"]
    soak.once(_nothing, one, without=())
    before = stage.pings.total.lost
    one.stop_agent()
    one.namespace.ip(f"route del {two.subnet}")
    one.start_agent()
    stage.lab.record()
    one.wait_ready()
    stage.rest()

    soak.once(_nothing, one, without=())

    assert stage.pings.total.lost > before
    assert soak.tally.code(stage.pings.total) == 1


def test_a_hurt_nodes_pings_have_to_come_back(stage: Stage) -> None:
    """Healthy by its own account, an empty plan, which a busy machine takes its time for, and yet nothing arrives."""
    soak = Soak(stage, flow_s=PATIENCE_S)
    one, two = stage.lab.nodes["n1"], stage.lab.nodes["n2"]

    def plant(_node: Node) -> None:
        two.namespace.must("nft", "add table inet foreign")
        chain = "{ type filter hook forward priority 0; policy drop; }"
        two.namespace.must("nft", f"add chain inet foreign f {chain}")

    try:
        soak.once(plant, one, without=("n1", "n2"))
    finally:
        two.namespace.must("nft", "delete table inet foreign")
        stage.pings.flow(timeout_s=30)

    assert soak.tally.unsettled == 1
    assert any("answered again" in text for text in soak.tally.wrong)


def test_what_does_not_settle_ends_the_soak(soak: Soak, stage: Stage) -> None:
    """An unreadable record leaves every node degraded."""
    key = Peer(254).key  # none that a node has, which would write it anew

    def plant(_node: Node) -> None:
        stage.ctl("put", key, "not JSON")

    try:
        soak.once(plant, stage.agents[0], without=())
    finally:
        stage.ctl("del", key)

    assert soak.tally.unsettled == 1
    assert soak.tally.code(soak.stage.pings.total) == 1
