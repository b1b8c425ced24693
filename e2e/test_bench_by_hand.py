"""What traffic is measured against is fair: the devices made by hand are those that our agent and plugin make."""

import array
import fcntl
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from e2e import bench_hand
from e2e.bench_hand import BRIDGE, HandNode
from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.node import Node, wait_for
from overlay.netlink.namespace import open_inside

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SIOCETHTOOL, ETHTOOL_GFEATURES, BLOCKS = 0x8946, 0x3A, 3
"""linux/sockios.h, linux/ethtool.h; a kernel with more features than 96 is asked for the first 96."""
THEIR_OWN = frozenset(
    {
        *("id", "local", "bridge_id", "root_id"),
        "forward_delay",  # ours waits as a bridge does by default, by a timer and not for each packet
    }
)
COMMON = ("mtu", "qdisc", "gso_max_size", "gso_max_segs", "gro_max_size", "tso_max_size")


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Lab, Node, HandNode]]:
    """One node of ours with a pod, one made by hand."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl(
            "put",
            "/coreos.com/network/config",
            '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}',
        )
        node = lab.add_node("n1")
        lab.start_nodes(node)
        lab.add_pod(node)
        yield lab, node, bench_hand.pair(lab)[0]


def _link(space: Namespace, name: str) -> dict[str, Any]:
    """What a packet may notice of a link: its kind's settings, sizes, flags, features that are on."""
    (row,) = space.query("link", "show", "dev", name)
    data = row["linkinfo"].get("info_data", {})
    return {
        **{
            key: value for key, value in data.items() if key not in THEIR_OWN and "timer" not in key
        },
        **{key: row.get(key) for key in COMMON},
        "flags": sorted(row["flags"]),
        "features": open_inside(space.path, lambda: _features(name)),
    }


def _features(name: str) -> list[int]:
    """The blocks of features that are active."""
    page = array.array("I", [ETHTOOL_GFEATURES, BLOCKS, *[0] * 4 * BLOCKS])
    request = struct.pack("16sP16x", name.encode(), page.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, request)
    return [page[2 + 4 * block + 2] for block in range(page[1])]


@pytest.mark.parametrize("kind", ["tunnel", "bridge", "pod's host end", "pod's eth0"])
def test_a_packet_meets_the_same_devices(made: tuple[Lab, Node, HandNode], kind: str) -> None:
    """Offloads, sizes, flags, learning, checksums: no attribute of ours costs what `ip` would not."""
    lab, node, hand = made
    (pod,) = lab.pods
    ports = [row["ifname"] for row in node.namespace.query("link", "show", "master", "overlay0")]
    ours, theirs = {
        "tunnel": ((node.namespace, "overlay.1"), (hand.space, bench_hand.DEVICE)),
        "bridge": ((node.namespace, "overlay0"), (hand.space, BRIDGE)),
        "pod's host end": ((node.namespace, ports[0]), (hand.space, "pod0")),
        "pod's eth0": ((pod.namespace, "eth0"), (hand.pod, "eth0")),
    }[kind]

    def shown() -> str:
        return f"{_link(*ours)}\n{_link(*theirs)}"

    assert any(_link(*ours)["features"])
    # Who has just been made may not be seen to run yet.
    wait_for(lambda: _link(*ours) == _link(*theirs), "the same", timeout_s=20, also=shown)
