"""Two machines with a pod each, made by hand with `ip`: what the overlay is measured against.

The same kernel devices with the same settings, and nobody who looks after them: no agent, and no nft table but, where
asked for, one rule that masquerades what leaves the pods' network: without one, pods reach nothing outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.process import CommandFailed

MASQUERADING = """table ip hand {
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tip saddr 10.99.0.0/16 ip daddr != 10.99.0.0/16 masquerade
\t}
}
"""
DEVICE, BRIDGE, VNI, PORT, MTU, UNDERLAY_MTU = "vx0", "br0", 7, 8472, 1450, 1500


@dataclass(frozen=True, slots=True)
class HandNode:
    """A machine, its pod, and what others need to know of it."""

    space: Namespace
    pod: Namespace
    address: str
    subnet: str
    mac: str

    @property
    def via(self) -> str:
        """The VTEP's address."""
        return self.subnet.partition("/")[0]

    @property
    def pod_address(self) -> str:
        """The pod's."""
        return self.via.rpartition(".")[0] + ".2"


def pair(lab: Lab) -> tuple[HandNode, HandNode]:
    """Both know the way to each other's pods through the tunnel."""
    one, two = _machine(lab, 1), _machine(lab, 2)
    for here, there in ((one, two), (two, one)):
        here.space.ip(
            f"neigh replace {there.via} lladdr {there.mac} dev {DEVICE} nud permanent",
            f"route replace {there.subnet} via {there.via} dev {DEVICE} onlink",
        )
        entry = f"fdb append {there.mac} dst {there.address} dev {DEVICE} self permanent"
        here.space.must("bridge", *entry.split())
    return one, two


def direct(one: HandNode, two: HandNode, *, tunnel: bool) -> None:
    """The way between them: plain routes over the underlay, or back through the tunnel."""
    for here, there in ((one, two), (two, one)):
        way = f"{there.via} dev {DEVICE} onlink" if tunnel else f"{there.address} dev eth0"
        mtu = MTU if tunnel else UNDERLAY_MTU
        here.space.ip(
            f"route replace {there.subnet} via {way}", f"link set {BRIDGE} mtu {mtu}",
            f"link set pod0 mtu {mtu}",
        )  # fmt: skip
        here.pod.ip(f"link set eth0 mtu {mtu}")


def masquerade(nodes: Sequence[HandNode], *, on: bool) -> None:
    """That one rule on each machine, or nothing."""
    text = MASQUERADING if on else "delete table ip hand\n"
    for node in nodes:
        said = node.space.run(["nft", "-f", "-"], stdin=text)
        if said.code != 0:
            raise CommandFailed(f"nft in {node.space.name}: {said.err}")


def _machine(lab: Lab, number: int) -> HandNode:
    address, space = lab.add_machine(f"hand{number}")
    pod = lab.add_space(f"handpod{number}")
    node = HandNode(space, pod, address, f"10.99.{number}.0/24", f"02:00:00:00:99:{number:02x}")
    gateway = node.pod_address.rpartition(".")[0] + ".1"
    space.must("sysctl", "-qw", "net.ipv4.ip_forward=1")
    tunnel = f"type vxlan id {VNI} local {address} dev eth0 dstport {PORT} nolearning"
    space.ip(
        f"link add {DEVICE} address {node.mac} mtu {MTU} {tunnel}",
        f"addr add {node.via}/32 dev {DEVICE}",
        f"link set {DEVICE} up",
        f"link add {BRIDGE} address 02:00:00:00:98:{number:02x} type bridge forward_delay 0",
        f"link set {BRIDGE} mtu {MTU}",
        f"addr add {gateway}/24 dev {BRIDGE}",
        f"link set {BRIDGE} up",
        f"link add pod0 mtu {MTU} type veth peer name eth0 mtu {MTU} netns {pod.name}",
        f"link set pod0 master {BRIDGE}",
        "link set pod0 up",
    )
    pod.ip(
        f"addr add {node.pod_address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {gateway}",
    )
    return node
