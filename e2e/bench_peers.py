"""`make bench`: peers programmed from cold, against the same netlink messages prebuilt and sent bare.

Both in one run, interleaved, in namespaces of their own: a ratio of two times measured a second apart on
one machine means something, the times alone do not.
"""

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

from e2e.netns import Namespace, remove
from overlay.dataplane import Dataplane
from overlay.desired import Me, Vtep, desired_node, desired_peer
from overlay.model import Backend, Endpoint, KernelObject, Lease, Network, Pool
from overlay.netlink import Netlink, link_messages, messages, parse
from overlay.netlink.namespace import run_inside
from overlay.plan import plan

NETWORK = Network(
    (Pool(ip_network("10.0.0.0/8"), 24, ip_network("10.0.1.0/24"), ip_network("10.255.255.0/24")),),
    Backend(),
)
ME = Me(
    "10.255.255.0-24",
    (
        Vtep(
            ip_network("10.255.255.0/24"),
            "overlay.1",
            "02:00:00:00:00:01",
            ip_address("192.0.2.1"),
            "eth0",
            1450,
        ),
    ),
    "overlay0",
)
Want = dict[object, KernelObject]


def lease(number: int) -> Lease:
    """A peer."""
    subnet = ip_network((0x0A000000 + ((number + 1) << 8), 24))
    mac = "02:01:" + ":".join(f"{byte:02x}" for byte in number.to_bytes(4, "big"))
    end = Endpoint(subnet, ip_address(0xC6120000 + number), mac, 1)
    return Lease(f"{subnet.network_address}-24", (end,))


def ours(want: Want, run_dir: Path) -> tuple[float, float]:
    """Seconds from the leases' objects to the kernel holding them, and of a full read with nothing to do."""
    with closing(Dataplane(run_dir)) as dataplane:
        node = {item.key: item for item in desired_node(NETWORK, ME)}
        dataplane.apply(plan(node, dataplane.read(node)))
        have = dataplane.read(want)
        begun = time.perf_counter()
        errors = [error for error in dataplane.apply(plan(want, have)) if error]
        taken = time.perf_counter() - begun
        assert not errors, errors[0]
        begun = time.perf_counter()
        left = plan(want, dataplane.read(want))
        assert not left, left[0]
        return taken, time.perf_counter() - begun


def bare(peers: list[Lease], run_dir: Path) -> float:
    """Seconds to send the same messages, built beforehand."""
    with closing(Dataplane(run_dir)) as dataplane:
        node = {item.key: item for item in desired_node(NETWORK, ME)}
        dataplane.apply(plan(node, dataplane.read(node)))
    with Netlink() as netlink:
        answers = netlink.get(link_messages.link_get("overlay.1"))
        index = parse.parse_link(answers[0][1]).index
        built: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        for peer in peers:
            (end,) = peer.endpoints
            assert end.mac is not None
            assert end.underlay is not None
            via = end.subnet.network_address
            built[0].append(messages.fdb_replace(index, end.mac, end.underlay))
            built[1].append(messages.neighbour_replace(index, via, end.mac))
            built[2].append(messages.route_add(end.subnet, link=index, via=via, onlink=True))
        begun = time.perf_counter()
        for kind in built.values():
            errors = [error for error in netlink.batch(kind) if error]
            assert not errors, errors[0]
        return time.perf_counter() - begun


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--peers", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    peers = [lease(number) for number in range(flags.peers)]
    items = [
        *desired_node(NETWORK, ME),
        *(o for peer in peers for o in desired_peer(NETWORK, ME, peer)),
    ]
    want: Want = {item.key: item for item in items}
    cold: list[float] = []
    resync: list[float] = []
    floor: list[float] = []
    for round_ in range(flags.rounds):
        for way in ("ours", "bare"):
            space = Namespace(f"ovl-bench-{way}{round_}")
            with tempfile.TemporaryDirectory() as work:
                try:
                    space.create()
                    space.ip(
                        "link add eth0 type veth peer name far0", "addr add 192.0.2.1/24 dev eth0"
                    )
                    space.ip("link set far0 up", "link set eth0 up")
                    if way == "ours":
                        taken, read = run_inside(space.path, partial(ours, want, Path(work)))
                        cold.append(taken)
                        resync.append(read)
                    else:
                        floor.append(run_inside(space.path, partial(bare, peers, Path(work))))
                finally:
                    remove(space.name)
        print(
            f"round {round_ + 1}: ours {cold[-1]:.3f} s, bare {floor[-1]:.3f} s, resync {resync[-1]:.3f} s"
        )
    ratio = statistics.median(cold) / statistics.median(floor)
    print(
        f"RESULT bench-peers peers={flags.peers} cold_s={statistics.median(cold):.3f} "
        f"floor_s={statistics.median(floor):.3f} cold_floor_ratio={ratio:.2f} "
        f"resync_s={statistics.median(resync):.3f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
