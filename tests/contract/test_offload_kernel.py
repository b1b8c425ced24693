"""Checksum offload on a real kernel: the switch, and which checksum a probe leaves to the device."""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from overlay.errors import KernelRefused
from overlay.netlink import offload
from overlay.netlink.namespace import open_inside, run_inside
from overlay.netlink.offload import Checksum
from tests.contract.spaces import ip
from tests.contract.tunnel import Two, tunnel

pytestmark = pytest.mark.contract

SOL_PACKET, PACKET_VNET_HDR, ETH_P_ALL, NEEDS_CSUM = 263, 15, 3, 1
"""linux/if_packet.h, linux/if_ether.h, linux/virtio_net.h"""
INNER = {4: 14 + 20 + 8 + 8 + 14 + 20, 6: 14 + 40 + 8 + 8 + 14 + 40}
"""Where the inner UDP header starts: Ethernet, IP, UDP, VXLAN, Ethernet, IP."""


@pytest.fixture(params=[4, 6])
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    """A cable, and on it VXLAN."""
    with tunnel(int(request.param)) as made:
        yield made


def arrives(two: Two, checksum: Checksum) -> bool:
    """One probe."""
    local, peer = ip_address(two.address(1)), ip_address(two.address(2))
    return run_inside(two.here, lambda: offload.arrives("v1", local, peer, checksum))


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
            assert arrives(two, checksum)
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
    assert arrives(two, Checksum.DEVICE)
    with pytest.raises(KernelRefused, match="checksum offload of v9: No such device"):
        run_inside(two.here, lambda: offload.tx_checksum("v9"))


def test_silence_is_no_answer(two: Two) -> None:
    """A peer that does not answer at all says nothing about the checksum."""
    ip(two.there, "link", "set", "v1", "down")
    assert [arrives(two, checksum) for checksum in Checksum] == [False, False]
