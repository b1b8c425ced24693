"""A peer that changes its MAC, its address or its subnet is followed without a gap, and nothing old is left.

The peer is a machine with a VXLAN device made by hand, which takes what is sent to its old MAC or address as well
as to its new one: so every lost ping is ours.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from e2e.etcdserver import NETWORK
from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.node import Node, wait_for
from e2e.pinger import Pings
from e2e.pods import Pod

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG_KEY = "/coreos.com/network/config"
SUBNETS = "/coreos.com/network/subnets"
MAC, OTHER_MAC = "02:00:00:00:0a:01", "02:00:00:00:0a:02"
OTHER_ADDRESS = "192.168.50.203"


@dataclass(frozen=True, slots=True)
class Scene:
    """A node with a pod, and the peer made by hand; pings run between them."""

    lab: Lab
    node: Node
    address: str
    pings: Pings

    def record(self, subnet: str, *, mac: str, address: str) -> None:
        """What the peer's agent would write."""
        data = {"VNI": 1, "VtepMAC": mac}
        value = {"PublicIP": address, "BackendType": "vxlan", "BackendData": data}
        self.lab.etcd.ctl("put", f"{SUBNETS}/{subnet}", json.dumps(value))

    def entries(self) -> list[str]:
        """The node's FDB entries for peers."""
        shown = self.node.namespace.must("bridge", "fdb", "show", "dev", "overlay.1")
        return [line.strip() for line in shown.splitlines() if "dst" in line]

    def follows(self, entry: str) -> None:
        """Until that is the node's only entry."""
        only = [f"{entry} self permanent"]
        wait_for(lambda: self.entries() == only, f"only {entry}", timeout_s=20)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """The peer's subnet is 10.5.200.0/24, and 10.5.201.0/24 later on."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        node = lab.add_node("n1")
        lab.start_nodes(node)
        pod = lab.add_pod(node)
        address, far = lab.add_machine("far")
        by_hand(far, address, node)
        made = Scene(lab, node, address, Pings(lab))
        made.record("10.5.200.0-24", mac=MAC, address=address)
        made.follows(f"{MAC} dst {address}")
        made.pings.between([pod, Pod("far", "far", far, addresses=(IPv4Address("10.5.200.1"),))])
        yield made


def by_hand(far: Namespace, address: str, node: Node) -> None:
    """A VTEP that knows the node, takes two MACs for its own and answers at two addresses."""
    (link,) = node.namespace.query("link", "show", "overlay.1")
    far.ip(
        f"addr add {OTHER_ADDRESS}/24 dev eth0",
        f"link add vx address {MAC} type vxlan id 1 dstport 8472 local {address} dev eth0 nolearning",
        "addr add 10.5.200.0/32 dev vx",
        "addr add 10.5.200.1/32 dev lo",
        "addr add 10.5.201.1/32 dev lo",
        "link set vx up",
        f"neigh add {node.vtep} lladdr {link['address']} nud permanent dev vx",
        f"route add {node.subnet} via {node.vtep} dev vx onlink",
    )
    far.must("bridge", "fdb", "add", link["address"], "dev", "vx", "dst", node.address)
    rule = f"ether daddr {OTHER_MAC} meta pkttype set host"
    hook = "{ type filter hook ingress device vx priority 0; }"
    far.must("nft", "add table netdev t")
    far.must("nft", f"add chain netdev t c {hook}")
    far.must("nft", f"add rule netdev t c {rule}")


def test_a_peer_is_followed_without_a_gap_and_leaves_no_old_entry(scene: Scene) -> None:
    """New MAC, new underlay address, both back at once, then another subnet."""
    with scene.pings.window() as window:
        scene.record("10.5.200.0-24", mac=OTHER_MAC, address=scene.address)
        scene.follows(f"{OTHER_MAC} dst {scene.address}")
        scene.record("10.5.200.0-24", mac=OTHER_MAC, address=OTHER_ADDRESS)
        scene.follows(f"{OTHER_MAC} dst {OTHER_ADDRESS}")
        scene.record("10.5.200.0-24", mac=MAC, address=scene.address)
        scene.follows(f"{MAC} dst {scene.address}")
        scene.record("10.5.201.0-24", mac=MAC, address=scene.address)
        wait_for(lambda: bool(scene.node.routes_to("10.5.201.0/24")), "the route", timeout_s=20)
    assert window.sent > 0
    assert window.gaps == {}

    scene.lab.etcd.ctl("del", f"{SUBNETS}/10.5.200.0-24")
    wait_for(lambda: not scene.node.routes_to("10.5.200.0/24"), "no old route", timeout_s=20)
    scene.follows(f"{MAC} dst {scene.address}")
    pod = scene.lab.pods[0]
    assert pod.ping("10.5.201.1", count=3).ok

    def neighbours() -> list[str]:  # of the old subnet's, the FDB entry was the same
        rows = scene.node.namespace.query("neigh", "show", "dev", "overlay.1")
        return [str(row["dst"]) for row in rows]

    wait_for(lambda: neighbours() == ["10.5.201.0"], "no old neighbour", timeout_s=20)
    wait_for(lambda: scene.node.tell("plan")["steps"] == [], "nothing to do", timeout_s=20)
