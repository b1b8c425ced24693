"""Checksum offload on a real kernel: the switch, and which checksum a probe leaves to the device."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from overlay.errors import KernelRefused
from overlay.netlink import offload
from overlay.netlink.namespace import open_inside, run_inside
from overlay.netlink.offload import Checksum
from tests.contract import spaces
from tests.contract.spaces import inside, ip

pytestmark = pytest.mark.contract

SOL_PACKET, PACKET_VNET_HDR, ETH_P_ALL, NEEDS_CSUM = 263, 15, 3, 1
"""linux/if_packet.h, linux/if_ether.h, linux/virtio_net.h"""
INNER = {4: 14 + 20 + 8 + 8 + 14 + 20, 6: 14 + 40 + 8 + 8 + 14 + 40}
"""Where the inner UDP header starts: Ethernet, IP, UDP, VXLAN, Ethernet, IP."""


@dataclass(frozen=True, slots=True)
class Two:
    """Two namespaces with a tunnel ``v1`` between them, by IP version."""

    here: Path
    there: Path
    version: int

    def address(self, number: int) -> str:
        """An end's VTEP."""
        return f"10.5.{number}.0" if self.version == 4 else f"fd00:5:0:{number}::"

    def arrives(self, checksum: Checksum) -> bool:
        """One probe."""
        local, peer = ip_address(self.address(1)), ip_address(self.address(2))
        return run_inside(self.here, lambda: offload.arrives("v1", local, peer, checksum))


@pytest.fixture(params=[4, 6])
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    """A cable, and on it VXLAN."""
    version = int(request.param)
    with spaces.namespace() as here, spaces.namespace() as there:
        made = Two(here, there, version)
        length, bits = (24, 32) if version == 4 else (64, 128)
        net = "192.0.2." if version == 4 else "2001:db8::"
        words = f"link add e0 type veth peer name e0 netns {there.name}"
        ip(here, *words.split())
        for space, own, other in ((here, 1, 2), (there, 2, 1)):
            vtep, peer, mac = made.address(own), made.address(other), "02:00:00:00:00:0"
            lines = (
                f"addr add {net}{own}/{length} dev e0" + (" nodad" if version == 6 else ""),
                "link set e0 up",
                f"link add v1 address {mac}{own} type vxlan id 1 dev e0 local {net}{own} dstport 8472",
                f"addr add {vtep}/{bits} dev v1" + (" nodad" if version == 6 else ""),
                "link set v1 up",
                f"neigh add {peer} lladdr {mac}{other} dev v1",
                f"route add {peer}/{length} via {peer} dev v1 onlink",
            )
            for line in lines:
                ip(space, *line.split())
            inside(space, *f"bridge fdb add {mac}{other} dst {net}{other} dev v1".split())
        yield made


def test_the_probe_leaves_its_checksum_to_whom_it_is_told(two: Two) -> None:
    """Both arrive on a sound kernel; on the cable only the device's bears an order to compute an inner checksum."""

    def tap() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.bind(("e0", ETH_P_ALL))
        sock.setblocking(False)
        return sock

    with open_inside(two.there, tap) as wire:
        for checksum in Checksum:
            assert two.arrives(checksum)
            starts = set()
            try:
                while True:
                    data, sender = wire.recvfrom(1 << 16)
                    flags, _, _, _, start, _ = struct.unpack_from("=BBHHHH", data)
                    if flags & NEEDS_CSUM and sender[2] != socket.PACKET_OUTGOING:
                        starts.add(start)
            except BlockingIOError:
                pass
            assert (INNER[two.version] in starts) == (checksum is Checksum.DEVICE)


def test_the_switch(two: Two) -> None:
    """Off means that the device is no longer trusted; what is not there is refused."""
    assert run_inside(two.here, lambda: offload.tx_checksum("v1"))
    run_inside(two.here, lambda: offload.set_tx_checksum("v1", False))
    assert not run_inside(two.here, lambda: offload.tx_checksum("v1"))
    assert two.arrives(Checksum.DEVICE)
    with pytest.raises(KernelRefused, match="checksum offload of v9: No such device"):
        run_inside(two.here, lambda: offload.tx_checksum("v9"))


def test_silence_is_no_answer(two: Two) -> None:
    """A peer that does not answer at all says nothing about the checksum."""
    ip(two.there, "link", "set", "v1", "down")
    assert [two.arrives(checksum) for checksum in Checksum] == [False, False]
