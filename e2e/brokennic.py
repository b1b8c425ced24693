"""A network card that does not know VXLAN: it completes the checksum of a plain packet, and no other.

    with BrokenNic(lab, "port1"):   # what the node behind port1 sends goes through it
        ...

In the fabric the node's port is taken out of the underlay's bridge, and two packet sockets carry its frames to a
port that stands in for it. The kernel tells with each frame where a checksum is still to be computed
(struct virtio_net_hdr): one of the outer packet is passed on to be computed, as such a card would; one of the
inner packet is left as it is, which is the fault. What comes the other way is passed on whole.
"""

import array
import fcntl
import os
import select
import socket
import struct
import threading
from types import TracebackType

from e2e.lab import Lab
from e2e.netns import Namespace
from overlay.netlink.namespace import open_inside, run_inside

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL, ETHERNET, ETHERTYPE_IPV4 = 0x0003, 14, b"\x08\x00"
"""linux/if_packet.h, linux/if_ether.h"""
ETHTOOL_STSO, ETHTOOL_SGSO, SIOCETHTOOL = 0x1F, 0x24, 0x8946
"""linux/ethtool.h, linux/sockios.h"""
_HEADER = struct.Struct("=BBHHHH")
"""struct virtio_net_hdr: flags, GSO type, header length, GSO size, where the checksum starts, where it goes."""
NEEDS_CSUM, NOTHING = 1, bytes(_HEADER.size)


def completed(data: bytes) -> bytes:
    """What the card does to a frame: only for a plain packet the order to compute a checksum stays."""
    flags, _kind, _length, _size, start, _offset = _HEADER.unpack_from(data)
    frame = data[_HEADER.size :]
    outer = ETHERNET + (frame[ETHERNET] & 0x0F) * 4 if frame[12:14] == ETHERTYPE_IPV4 else 0
    if flags & NEEDS_CSUM and start != outer:
        return NOTHING + frame
    return data


class BrokenNic:
    """While the with block lasts. ``spoiled`` counts the frames that were sent unfinished."""

    def __init__(self, lab: Lab, port: str) -> None:
        self.spoiled = 0
        self._fabric, self._port = lab.fabric, port
        self._wake, self._waker = os.pipe()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._carry, name="broken nic", daemon=True)

    def __enter__(self) -> "BrokenNic":
        self._fabric.ip(
            f"link set {self._port} nomaster",
            "link add nic-in type veth peer name nic-out",
            "link set nic-in up",
            "link set nic-out master underlay0 up",
        )
        names = (self._port, "nic-in")
        self._sockets = open_inside(self._fabric.path, lambda: [_tap(name) for name in names])
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._waker)
        self._thread.join(10)
        for sock in self._sockets:
            sock.close()
        os.close(self._wake)

    def _carry(self) -> None:
        node, outside = self._sockets
        poll = select.poll()
        for descriptor in (node.fileno(), outside.fileno(), self._wake):
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake in ready:
                return
            if node.fileno() in ready:
                data = node.recv(1 << 17)
                sent = completed(data)
                self.spoiled += sent is not data
                outside.send(sent)
            if outside.fileno() in ready:
                node.send(outside.recv(1 << 17))


def without_large_frames(space: Namespace, device: str) -> None:
    """A packet socket cannot be told of a large frame that the card would cut: the kernel cuts them itself."""
    for command in (ETHTOOL_STSO, ETHTOOL_SGSO):
        run_inside(space.path, lambda it=command: _ethtool(device, it))  # type: ignore[misc]


def _tap(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    for option in (PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING):
        sock.setsockopt(SOL_PACKET, option, 1)
    sock.bind((device, ETH_P_ALL))
    return sock


def _ethtool(device: str, command: int) -> None:
    value = array.array("B", struct.pack("=II", command, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sP16x", device.encode(), value.buffer_info()[0])
        fcntl.ioctl(sock, SIOCETHTOOL, request)
