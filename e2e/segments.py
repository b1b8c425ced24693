"""Two links of a lab joined by a router, and what is seen on a cable.

The fabric's bridge 192.168.50.254/24 is the first link. The second is 192.168.60.254/24, and the fabric forwards
between them.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from e2e.lab import Lab
from e2e.netns import Namespace, cable
from e2e.node import Node
from overlay.netlink.namespace import run_inside

ROUTER = "192.168.60.254"
VXLAN_PORT, UDP, ETH_P_ALL = 8472, 17, 3
POD_NETWORK = bytes((10, 5))


def second_link(lab: Lab) -> None:
    """Make it, and let the fabric forward."""
    lab.fabric.ip(
        "link add underlay1 address 02:00:00:00:fa:b1 mtu 1500 type bridge forward_delay 0",
        f"addr add {ROUTER}/24 dev underlay1",
        "link set underlay1 up",
    )
    lab.fabric.must("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0")


def node_behind(lab: Lab, name: str, number: int) -> Node:
    """A node on the second link, 192.168.60.<number>; its agent is not started."""
    namespace, address = lab.add_space(name), f"192.168.60.{number}"
    cable(lab.fabric, f"far{number}", namespace, "eth0")
    lab.fabric.ip(f"link set far{number} master underlay1")
    namespace.ip(f"addr add {address}/24 dev eth0", f"route add default via {ROUTER}")
    settings = {"etcd_endpoints": lab.endpoints}
    node = Node(name, namespace, address=address, work=lab.work / name, settings=settings)
    lab.nodes[name] = node
    return node


@dataclass(slots=True)
class Seen:
    """What passed a cable, complete once its block has ended: frames of pods as they are, and inside the tunnel."""

    plain: int = 0
    tunnelled: int = 0
    sources: set[str] = field(default_factory=set)


@contextmanager
def watching(space: Namespace, link: str) -> Iterator[Seen]:
    """Look at every frame of a link within the block."""

    def opened() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        made.bind((link, ETH_P_ALL))
        made.setblocking(False)
        return made

    seen = Seen()
    with run_inside(space.path, opened) as listener:
        yield seen
        with suppress(BlockingIOError):
            while True:
                _count(listener.recv(128), seen)


def _count(packet: bytes, seen: Seen) -> None:
    if len(packet) < 28 or packet[0] != 0x45:
        return
    if packet[9] == UDP and int.from_bytes(packet[22:24], "big") == VXLAN_PORT:
        seen.tunnelled += 1
    elif packet[16:18] == POD_NETWORK:
        seen.plain += 1
        seen.sources.add(socket.inet_ntoa(packet[12:16]))
