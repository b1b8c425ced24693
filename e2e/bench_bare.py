"""What the agent is measured against: the same netlink messages prebuilt and sent bare, and pyroute2 one by one.

Each in a namespace of its own, with the device made by `ip`, nobody listening, nothing else going on. The bare loop
is the floor: all that is left of it is the kernel. The same with all routes of one scope, as other programs write them,
says what it costs that the kernel finds them all in one place (docs/decisions/012-scopes.md).
"""

import gc
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from e2e.bench_records import SimPeer
from e2e.netns import Namespace, remove
from overlay.dataplane.scope import scope_to
from overlay.netlink import messages
from overlay.netlink.namespace import run_inside

DEVICE, OURS = "overlay.1", "10.255.255.0"
A_DATAGRAM = 64
_ACK = 4
NTF_SELF = 0x02


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds on the clock, and of CPU, which a busy machine stretches less."""

    wall_s: float
    cpu_s: float


def floor(name: str, peers: Sequence[SimPeer], *, one_scope: bool = False) -> Floor:
    """To send prebuilt messages, 64 a datagram, an acknowledgement asked for the last one of each."""
    with _prepared(name) as space:
        return run_inside(space.path, lambda: _send(_datagrams(peers, one_scope)))


def one_by_one(name: str, peers: Sequence[SimPeer]) -> float:
    """Seconds of pyroute2's documented calls, one request and one answer each."""
    with _prepared(name) as space:
        return run_inside(space.path, lambda: _pyroute2(peers))


@contextmanager
def underlaid(name: str) -> Iterator[Namespace]:
    """A namespace with an underlay, 192.0.2.1 on eth0; gone afterwards."""
    space = Namespace(name)
    try:
        space.create()
        space.ip(
            "link add eth0 type veth peer name far0",
            "addr add 192.0.2.1/24 dev eth0",
            "link set far0 up",
            "link set eth0 up",
        )
        yield space
    finally:
        remove(name)


@contextmanager
def _prepared(name: str) -> Iterator[Namespace]:
    with underlaid(name) as space:
        space.ip(
            f"link add {DEVICE} type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning",
            f"addr add {OURS}/32 dev {DEVICE}",
            f"link set {DEVICE} up",
        )
        yield space


def _datagrams(peers: Sequence[SimPeer], one_scope: bool) -> list[bytes]:
    link = socket.if_nametoindex(DEVICE)
    built = [messages.fdb_replace(link, it.mac, it.underlay) for it in peers]
    built += [messages.neighbour_replace(link, it.subnet.network_address, it.mac) for it in peers]
    for it in peers:
        via = it.subnet.network_address
        scope = 0 if one_scope else scope_to(it.subnet, via)
        built.append(messages.route_add(it.subnet, link=link, via=via, onlink=True, scope=scope))
    parts = [built[at : at + A_DATAGRAM] for at in range(0, len(built), A_DATAGRAM)]
    return [_asking_last(part) for part in parts]


def _asking_last(part: Sequence[bytes]) -> bytes:
    last = bytearray(part[-1])
    (flags,) = struct.unpack_from("=H", last, 6)
    struct.pack_into("=H", last, 6, flags | _ACK)
    return b"".join([*part[:-1], last])


def _send(datagrams: Sequence[bytes]) -> Floor:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        gc.collect()
        begun, used = time.perf_counter(), time.thread_time()
        for data in datagrams:
            sock.send(data)
            answer = sock.recv(1 << 16)
            (code,) = struct.unpack_from("=i", answer, 16)
            assert code == 0, f"the kernel refused a message of the floor: errno {-code}"
        return Floor(time.perf_counter() - begun, time.thread_time() - used)


def _pyroute2(peers: Sequence[SimPeer]) -> float:
    from pyroute2 import IPRoute  # 0.3 s and 33 MB, only where it is measured

    with IPRoute() as ip:
        (link,) = ip.link_lookup(ifname=DEVICE)
        begun = time.perf_counter()
        for it in peers:
            via = str(it.subnet.network_address)
            # "replace" is refused for a FDB entry (EOPNOTSUPP)
            ip.fdb("append", ifindex=link, lladdr=it.mac, dst=str(it.underlay), flags=NTF_SELF)
            ip.neigh("replace", ifindex=link, dst=via, lladdr=it.mac, state=0x80)
            ip.route(
                "replace", dst=str(it.subnet), gateway=via, oif=link, flags=["onlink"], proto=158
            )
        return time.perf_counter() - begun
