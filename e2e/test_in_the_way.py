"""What others put in a node's way: it comes up as far as it can, says what it is, and goes on when it is gone."""

from collections.abc import Iterator

import pytest

from e2e.etcdserver import NETWORK
from e2e.lab import Lab
from e2e.node import Node, wait_for
from overlay.errors import NotReady

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FAR = "10.5.20.0/24"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An etcd, and a node whose subnet is known beforehand."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", NETWORK)
        made.start_nodes(made.add_node("far", subnet=FAR))
        yield made


def test_a_node_takes_pods_though_others_hold_up_one_of_its_peers(lab: Lab) -> None:
    """A route in the place of a peer's, and Docker's network inside of the pod network."""
    node = lab.add_node("n1")
    node.namespace.ip(
        f"route add {FAR} via 192.168.50.254",
        "link add docker0 type bridge",
        "addr add 10.5.220.1/24 dev docker0",
    )
    node.start_agent()
    lab.record()
    wait_for((node.conf_dir / node.conflist).exists, "it takes pods", timeout_s=20)
    pod, there = lab.add_pod(node), lab.add_pod(lab.nodes["far"])

    wait_for(lambda: len(in_way(node)) == 2, "both are named", timeout_s=20)
    status = node.tell("status")
    assert status["verdict"] == "degraded"
    assert f"look: ip route show {FAR}" in in_way(node)[f"route {FAR} dev eth0"]
    assert "look: ip address show dev docker0" in in_way(node)["address 10.5.220.1/24 on docker0"]
    shown = node.overlayctl("status").out
    assert f"! in the way: route {FAR} dev eth0: it is not ours" in shown
    assert node.log_text().count("in the way, and not ours") == 2

    node.namespace.ip("link del docker0", f"route del {FAR}")
    wait_for(lambda: node.tell("status")["verdict"] == "healthy", "all is well", timeout_s=30)
    assert node.log_text().count("no longer in the way") == 2
    wait_for(lambda: pod.ping(there.address).ok, "the peer is reached", timeout_s=20)


def test_another_device_with_our_vni_is_named_and_once_it_is_gone_the_node_comes_up(
    lab: Lab,
) -> None:
    """The kernel only says that something exists."""
    node = lab.add_node("n2")
    other = f"link add calico type vxlan id 1 dstport 8472 local {node.address} dev eth0"
    node.namespace.ip(other, "link set calico up")
    node.start_agent()
    lab.record()
    wait_for(lambda: "device calico" in in_way(node), "it is named", timeout_s=20)
    assert "which overlay.1 needs; look: ip -d link show calico" in in_way(node)["device calico"]
    assert "calico" in node.namespace.must("ip", "link", "show", "calico")

    node.namespace.ip("link del calico")
    node.wait_ready(peers=1)
    wait_for(lambda: not in_way(node), "nothing is in the way", timeout_s=20)


def in_way(node: Node) -> dict[str, str]:
    """What the status names, by name; nothing while no agent answers yet."""
    try:
        trouble = node.tell("status")["trouble"]
    except NotReady:
        return {}
    marker = "in the way: "
    return {key.removeprefix(marker): why for key, why in trouble.items() if key.startswith(marker)}
