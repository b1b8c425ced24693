"""Days without etcd, and with another address: what a node does by itself."""

import shutil
from collections.abc import Iterator

import pytest

from e2e.etcdserver import NETWORK
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pinger import Pings
from e2e.pods import CniFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


AGAIN_S = 60.0
"""A pause of the retry policy is 30 s at most (agent/retry.py)."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """Two nodes that are ready and have written their last-good copies."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", NETWORK)
        nodes = [made.add_node("n1"), made.add_node("n2")]
        made.start_nodes(*nodes)
        yield made


@pytest.fixture
def lab(shared: Lab) -> Lab:
    """The same, once all agents have got over what the case before did to etcd."""
    for node in shared.nodes.values():
        wait_for(
            lambda it=node: it.tell("status")["verdict"] == "healthy",  # type: ignore[misc]
            f"{node.name} is healthy",
            timeout_s=AGAIN_S,
            also=node.log_tail,
        )
    return shared


def _reboot(node: Node) -> None:
    """What a machine forgets: its kernel's state and /run."""
    node.stop_agent()
    node.namespace.ip("link del overlay.1", "link del overlay0")
    node.namespace.must("nft", "delete", "table", "inet", "overlay")
    shutil.rmtree(node.run_dir)


def test_a_node_that_boots_while_etcd_is_down_serves_and_is_put_right_later(lab: Lab) -> None:
    """Devices, peers and pods at once from the last-good copy; then healthy, with no ping lost."""
    one, two = lab.nodes["n1"], lab.nodes["n2"]
    far, subnet = lab.add_pod(two), one.subnet
    lab.etcd.stop()

    _reboot(one)
    one.start_agent("--etcd-timeout", "2s")
    lab.record()
    one.wait_ready(timeout_s=20)
    status = one.status()
    near = lab.add_pod(one)

    assert (status["verdict"], one.subnet) == ("degraded", subnet)
    assert "unreachable since" in status["trouble"]["etcd"]
    assert near.ping(far.address, count=3).ok

    pings = Pings(lab)
    pings.between([near, far])
    with pings.window() as window:
        lab.etcd.start()
        wait_for(
            lambda: one.status()["verdict"] == "healthy",
            "healthy",
            timeout_s=AGAIN_S,
            also=one.log_tail,
        )
    pings.end(near)
    assert (window.sent > 0, window.gaps) == (True, {})
    assert one.ask("plan")["steps"] == two.ask("plan")["steps"] == []
    assert one.status()["lease"]["how"] != "remembered"


def test_a_new_address_of_the_underlay_is_told_to_the_peers_in_place(lab: Lab) -> None:
    """Same subnet, same record, another VTEP address; the pods talk on."""
    one, two = lab.nodes["n1"], lab.nodes["n2"]
    near, far, subnet = lab.add_pod(one), lab.add_pod(two), one.subnet
    key = f"/coreos.com/network/subnets/{subnet.replace('/', '-')}"

    one.namespace.ip(
        f"addr del {one.address}/24 dev eth0",
        "addr add 192.168.50.101/24 dev eth0",
        "route add default via 192.168.50.254",
    )

    wait_for(
        lambda: "192.168.50.101" in lab.etcd.ctl("get", key),
        "told",
        timeout_s=30,
        also=one.log_tail,
    )
    wait_for(lambda: near.ping(far.address).ok, "they talk", timeout_s=30, also=one.log_tail)
    assert one.subnet == subnet
    for node in (one, two):
        wait_for(
            lambda it=node: (
                it.tell("plan")["steps"] == []  # type: ignore[misc]
                and it.tell("status")["verdict"] == "healthy"
            ),
            f"{node.name} is healthy and wants no change",
            timeout_s=30,
            also=node.log_tail,
        )


def test_a_node_cut_off_past_its_ttl_refuses_new_pods_and_keeps_those_it_has(lab: Lab) -> None:
    """With the reason; STATUS says it too; once etcd answers it takes pods again, in the same subnet."""
    node, other = lab.add_node("n3"), lab.nodes["n2"]
    node.start_agent("--lease-ttl", "10s", "--etcd-timeout", "1s")
    lab.record()
    node.wait_ready()
    near, far, subnet = lab.add_pod(node), lab.add_pod(other), node.subnet
    wait_for(lambda: near.ping(far.address).ok, "they talk", timeout_s=30)

    lab.etcd.stop()
    wait_for(lambda: not (node.run_dir / "node.json").exists(), "no new pods", timeout_s=40)
    late = lab.bare_pod(node)
    with pytest.raises(CniFailed, match=r"may be somebody else's by now\. Pods that run are kept"):
        node.runtime.add(late)
    assert node.status()["verdict"] == "degraded"
    assert "new pods are refused" in node.status()["trouble"]
    assert near.ping(far.address, count=5).received == 5

    lab.etcd.start()
    node.wait_ready(timeout_s=AGAIN_S)
    assert node.subnet == subnet
    node.runtime.add(late)
    # Its record may have ended before it was heard of again: then the other node has it anew, in its own time.
    wait_for(lambda: near.ping(far.address).ok, "they talk again", timeout_s=AGAIN_S)
    assert near.ping(far.address, count=5).received == 5
