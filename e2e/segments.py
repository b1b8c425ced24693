"""Two links of a lab joined by a router, and what is seen on a cable.

The fabric's bridge 192.168.50.254/24 is the first link. The second is 192.168.60.254/24, and fd60::fe/64 in a lab
that has IPv6; the fabric forwards between them.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from e2e.lab import Lab
from e2e.netns import Namespace, cable
from e2e.node import Node
from overlay.family import Family
from overlay.netlink.namespace import run_inside

NETWORKS = {Family.V4: ip_network("192.168.60.0/24"), Family.V6: ip_network("fd60::/64")}
ROUTER = 254
VXLAN_PORT, UDP, ETH_P_ALL = 8472, 17, 3
POD_NETWORK, POD_NETWORK_V6 = bytes((10, 5)), bytes.fromhex("fd000005")


def second_link(lab: Lab) -> None:
    """Make it, and let the fabric forward."""
    lab.fabric.ip(
        "link add underlay1 address 02:00:00:00:fa:b1 mtu 1500 type bridge forward_delay 0",
        *(f"addr add {at(family, ROUTER)} dev underlay1" for family in lab.families),
        "link set underlay1 up",
    )
    switches = ["ipv4.ip_forward=1", "ipv4.conf.all.send_redirects=0"]
    if Family.V6 in lab.families:
        switches.append("ipv6.conf.all.forwarding=1")
    lab.fabric.must("sysctl", "-qw", *(f"net.{switch}" for switch in switches))


def at(family: Family, number: int) -> str:
    """An address of the second link, as `ip addr add` has it."""
    network = NETWORKS[family]
    nodad = " nodad" if family is Family.V6 else ""
    return f"{network[number]}/{network.prefixlen}{nodad}"


def node_behind(lab: Lab, name: str, number: int) -> Node:
    """A node on the second link; its agent is not started."""
    namespace, address = lab.add_space(name), str(NETWORKS[lab.families[0]][number])
    cable(lab.fabric, f"far{number}", namespace, "eth0")
    lab.fabric.ip(f"link set far{number} master underlay1")
    for family in lab.families:
        router = NETWORKS[family][ROUTER]
        namespace.ip(
            f"addr add {at(family, number)} dev eth0",
            f"route add default via {router}",
        )
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
    six = len(packet) >= 44 and packet[0] >> 4 == 6
    if not six and (len(packet) < 28 or packet[0] != 0x45):
        return
    kind, ports, source = (packet[6], 40, packet[8:24]) if six else (packet[9], 20, packet[12:16])
    target, pods = (packet[24:40], POD_NETWORK_V6) if six else (packet[16:20], POD_NETWORK)
    if kind == UDP and int.from_bytes(packet[ports + 2 : ports + 4], "big") == VXLAN_PORT:
        seen.tunnelled += 1
    elif target.startswith(pods):
        seen.plain += 1
        seen.sources.add(str(ip_address(source)))
