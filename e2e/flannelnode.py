"""A node of a lab as flanneld and flannel's plugin leave it, beside a flannel peer; what every case starts from."""

from collections.abc import Callable
from pathlib import Path

from e2e import flannel
from e2e.flannel import Flanneld, HandMade, Real
from e2e.flannelpods import BridgedPods, Steady
from e2e.flannelreplay import DEVICE, Replayed, flannels_subnet
from e2e.lab import Lab
from e2e.node import Node, wait_for

CONFIG = '{"Network":"10.5.0.0/16","SubnetMin":"10.5.70.0","Backend":{"Type":"vxlan"}}'
"""No node takes a subnet below by chance, where tests write records of their own."""
PEER, GONE = "10.5.2.0/24", "10.5.9.0/24"

Maker = Callable[[Node], Flanneld]


def maker(lab: Lab, program: Path | None) -> Maker:
    """flanneld for a node: the program if one was given, else the replay."""
    if program is not None:
        return lambda node: Real(lab, node, program)
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


def none_lost(pings: list[Steady]) -> None:
    """Of at least a second's worth each."""
    for one in pings:
        wait_for(lambda one=one: len(one.received) >= 20, "a second of pings", timeout_s=30)  # type: ignore[misc]
    for came, missing in (one.end() for one in pings):
        print(f"pings: {came} came back, lost: {missing}")
        assert not missing
