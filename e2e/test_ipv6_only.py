"""No IPv4 anywhere: nodes, etcd, tunnel and pods by IPv6 alone, which flannel with etcd cannot do."""

import json
from collections.abc import Iterator
from ipaddress import IPv6Network

import pytest

from e2e import netns
from e2e.etcdserver import CONFIG_KEY, SUBNETS
from e2e.lab import Lab
from e2e.node import Node, wait_for
from overlay.family import Family

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG = (
    '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}'
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An etcd on IPv6, and no node."""
    with Lab(families=(Family.V6,)) as made:
        made.etcd.start()
        yield made


def ipv4_addresses(node: Node) -> list[str]:
    """Of all its interfaces but lo."""
    rows = node.namespace.query("-4", "addr", "show")
    return [row["ifname"] for row in rows if row["ifname"] != "lo"]


def test_nodes_and_pods_talk_by_ipv6_alone(lab: Lab) -> None:
    """Key, pages, full packets, node to pod, outside by masquerade, and a restart that changes nothing."""
    one, two = lab.add_node("n1"), lab.add_node("n2")
    said = one.overlayctl("init", "--ipv6-network", "fd00:5::/48")
    assert said.code == 0
    assert CONFIG in said.out
    assert "flannel" in said.err
    lab.start_nodes(one, two)
    here, there = lab.add_pod(one), lab.add_pod(two)

    full = here.filling(Family.V6)
    assert here.mtu == 1430
    assert here.ping(there.address, wait_s=5).ok
    assert here.ping(there.address, payload=full, whole=True, wait_s=5).ok
    assert here.ping(there.address, payload=full + 1, whole=True).too_long
    assert one.namespace.run(["ping", "-n", "-c1", "-W5", str(there.address)]).code == 0
    assert here.ping("fd50::fe", wait_s=5).ok  # the fabric has no way back to pods
    assert not ipv4_addresses(one) + ipv4_addresses(two)

    subnet = one.subnets[0]
    assert isinstance(subnet, IPv6Network)
    assert (one.run_dir / "subnet.env").read_text() == (
        f"FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET={subnet[1]}/64\n"
        "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n"
    )
    key = f"{SUBNETS}{subnet.network_address}-64"
    record = json.loads(lab.etcd.ctl("get", "--print-value-only", key))
    assert (record["PublicIP"], record["PublicIPv6"]) == ("0.0.0.0", "fd50::1")

    two.kill_agent()
    assert here.ping(there.address, count=3).received == 3
    two.start_agent()
    two.wait_ready()
    assert two.status()["changes"] == 0


def test_an_address_that_is_given_again_answers_at_once(lab: Lab) -> None:
    """Its neighbours still know the MAC that it had."""
    lab.etcd.ctl("put", "/coreos.com/network/config", CONFIG)
    node = lab.add_node("n1")
    lab.start_nodes(node)
    wanted = {"runtimeConfig": {"ips": [str(node.subnets[0][77])]}}
    for _ in range(2):
        pod = lab.add_pod(node, **wanted)
        assert node.namespace.run(["ping", "-n", "-c1", "-W5", str(pod.address)]).code == 0
        netns.remove(pod.namespace.name)
        node.runtime.delete(pod)


def test_an_underlay_that_is_renamed_while_it_is_up_is_followed_at_once(lab: Lab) -> None:
    """IPv4 tells of its addresses anew then; of IPv6 there is the link's event alone, with a name that nobody knows."""
    one, two = lab.add_node("n1"), lab.add_node("n2")
    lab.etcd.ctl("put", CONFIG_KEY, CONFIG)
    lab.start_nodes(one, two)
    here, there = lab.add_pod(one), lab.add_pod(two)
    assert here.ping(there.address, wait_s=5).ok
    if one.namespace.run(["ip", "link", "set", "eth0", "name", "net0"]).code:
        pytest.skip("this kernel renames no link that is up (Linux 6.2 does)")

    followed = "is on net0, was on eth0"
    wait_for(lambda: followed in one.log_text(), "followed", timeout_s=20, also=one.log_tail)
    assert here.ping(there.address, wait_s=5).ok
