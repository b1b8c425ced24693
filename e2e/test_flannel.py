"""Beside flanneld in one cluster, a node taken over from it, and handed back: no ping is lost.

Without --flanneld (FLANNELD=) a replay of what flanneld does stands in for the program.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import flannel
from e2e.flannel import Flanneld, HandMade, Real
from e2e.flannelpods import BridgedPods, Steady
from e2e.flannelreplay import DEVICE, Replayed, flannels_subnet
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import Pod

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
GONE = "10.5.9.0/24"
PEER = "10.5.2.0/24"

Maker = Callable[[Node], Flanneld]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An etcd with flannel's config, and no node."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", CONFIG)
        yield made


@pytest.fixture
def flanneld(lab: Lab, flanneld_program: Path | None) -> Maker:
    """flanneld for a node: the program if one was given, else the replay."""
    if flanneld_program is not None:
        return lambda node: Real(lab, node, flanneld_program)
    return lambda node: Replayed(lab, node)


class Left:
    """A node as flanneld and flannel's plugin leave it, one pod on it, and a flannel peer with one pod."""

    def __init__(self, lab: Lab, maker: Maker) -> None:
        self.lab = lab
        self.peer = HandMade.make(lab, "peer", PEER)
        flannel.put(lab.etcd, PEER, self.peer.value)
        gone = flannel.record("192.168.50.99", "c6:d2:00:00:00:99")
        flannel.put(lab.etcd, GONE, gone)
        self.node = lab.add_node("n1")
        self.node.configure(bridge="cni0", host_local_dir=str(self.node.work / "host-local"))
        self.flanneld = maker(self.node)
        self.flanneld.start()
        self.flanneld.learn(PEER)
        self.flanneld.learn(GONE)
        self.subnet = flannels_subnet(self.flanneld.env)
        self.peer.knows(lab.etcd)
        self.bridged = BridgedPods(lab, self.node, self.flanneld.env)
        self.old = self.bridged.add()
        self.far = self.peer.pod(lab, "far")
        self.flanneld.stop()
        lab.etcd.ctl("del", flannel.key_of(GONE))
        self.node.namespace.must(
            *f"ip neigh replace 10.5.8.0 lladdr c6:d2:00:00:00:98 dev {DEVICE} nud stale".split()
        )
        assert self.old.ping(self.far.address).ok

    def macs(self) -> tuple[str, str]:
        """Of flannel.1 and cni0."""
        rows = [self.node.namespace.query("link", "show", name)[0] for name in (DEVICE, "cni0")]
        return str(rows[0]["address"]), str(rows[1]["address"])

    def steady(self) -> list[Steady]:
        """Pings both ways."""
        return [
            Steady(self.lab, self.old.namespace, self.far.address),
            Steady(self.lab, self.far.namespace, self.old.address),
        ]


@pytest.fixture
def left(lab: Lab, flanneld: Maker) -> Left:
    """What an agent finds at a take-over."""
    return Left(lab, flanneld)


def none_lost(pings: list[Steady]) -> None:
    """Of at least a second's worth each."""
    for one in pings:
        wait_for(lambda one=one: len(one.received) >= 20, "a second of pings", timeout_s=10)  # type: ignore[misc]
    for came, missing in (one.end() for one in pings):
        print(f"pings: {came} came back, lost: {missing}")
        assert not missing


def test_a_take_over_loses_no_ping_and_gives_no_address_twice(left: Left) -> None:
    """Device, MACs, lease and pods stay; what is stale goes; new pods get other addresses."""
    lab, node, macs = left.lab, left.node, left.macs()
    second = left.bridged.add()
    pings = left.steady()

    node.start_agent()
    lab.record()
    node.wait_ready()

    assert node.subnet == left.subnet
    assert left.macs() == macs
    assert not node.routes_to(GONE)
    assert "c6:d2:00:00:00:9" not in node.namespace.must("ip", "neigh", "show", "dev", DEVICE)
    assert "c6:d2:00:00:00:99" not in node.namespace.must("bridge", "fdb", "show", "dev", DEVICE)
    fresh = [lab.add_pod(node) for _ in range(3)]
    assert not {pod.address for pod in fresh} & {left.old.address, second.address}
    assert fresh[0].ping(left.old.address).ok
    assert fresh[0].ping(left.far.address).ok
    assert left.far.ping(fresh[0].address, payload=1422, whole=True).ok
    none_lost(pings)
    print(f"changes: {node.status()['changes']}")
    assert node.overlayctl("plan").out.strip() == "0 changes"
    assert node.overlayctl("ipam", "check").code == 0
    shown = {row["address"]: row for row in node.ask("ipam", "show")}
    assert shown[str(left.old.address)]["container"] == left.old.container
    assert shown[str(left.old.address)]["state"] == "in use, attached by another plugin"

    node.runtime.delete(second)
    assert not (left.bridged.network_dir / str(second.address)).exists()
    assert str(second.address) not in {row["address"] for row in node.ask("ipam", "show")}
    assert left.old.ping(left.far.address).ok
