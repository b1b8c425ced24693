"""What leaves a machine of a lab by its underlay: the VXLAN packets, seen by a packet socket in its namespace."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from e2e.netns import Namespace
from overlay.netlink.namespace import run_inside

ETH_P_ALL = 0x0003
"""linux/if_ether.h"""
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
ICMPV6, HOP_BY_HOP = 58, 0
_ETHERNET, _VXLAN, _UDP = 14, 8, 8
MOST_FRAMES = 100_000


@dataclass(frozen=True, slots=True)
class Inner:
    """A frame inside of a VXLAN packet."""

    vni: int
    to: str
    kind: int
    payload: bytes

    @property
    def floods(self) -> bool:
        """To a group or to everybody."""
        return bool(int(self.to[:2], 16) & 1)

    @property
    def asks(self) -> bool:
        """ARP, or what IPv6 has for it: neighbour and router discovery, multicast listeners."""
        if self.kind == ARP:
            return True
        if self.kind != IPV6 or len(self.payload) < 41:
            return False
        following = self.payload[6]
        return following == HOP_BY_HOP or (following == ICMPV6 and 130 <= self.payload[40] <= 143)

    def __str__(self) -> str:
        return f"VNI {self.vni} to {self.to} type {self.kind:04x} {self.payload[:48].hex()}"


class Wire:
    """Listens from its beginning on; ``inner`` or ``heard`` takes what has passed since it was last asked."""

    def __init__(self, namespace: Namespace, *, link: str = "eth0", port: int = 8472) -> None:
        self._port = port
        self._socket = run_inside(namespace.path, lambda: _listen(link))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def inner(self) -> list[Inner]:
        """The frames inside of the VXLAN packets that this machine has sent."""
        return [found for frame in self._frames() if (found := _unwrap(frame, self._port))]

    def heard(self) -> list[bytes]:
        """The IPv4 packets that have come to this machine."""
        found = self._frames(outgoing=False)
        return [frame[_ETHERNET:] for frame in found if frame[12:14] == IPV4.to_bytes(2)]

    def _frames(self, *, outgoing: bool = True) -> Iterator[bytes]:
        with contextlib.suppress(BlockingIOError):
            for _ in range(MOST_FRAMES):
                frame, where = self._socket.recvfrom(1 << 16)
                if (where[2] == socket.PACKET_OUTGOING) is outgoing:
                    yield frame


def _listen(link: str) -> socket.socket:
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    found.bind((link, ETH_P_ALL))
    found.setblocking(False)
    return found


def _unwrap(frame: bytes, port: int) -> Inner | None:
    """IPv4 or IPv6 without options, UDP to the port."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    header = {IPV4: 20, IPV6: 40}.get(kind)
    if header is None or len(frame) < _ETHERNET + header + _UDP + _VXLAN + _ETHERNET:
        return None
    protocol = frame[_ETHERNET + (9 if kind == IPV4 else 6)]
    at = _ETHERNET + header
    if protocol != socket.IPPROTO_UDP or struct.unpack_from("!H", frame, at + 2) != (port,):
        return None
    vni = int.from_bytes(frame[at + 12 : at + 15], "big")
    inside = frame[at + _UDP + _VXLAN :]
    to = ":".join(f"{octet:02x}" for octet in inside[:6])
    return Inner(vni, to, struct.unpack_from("!H", inside, 12)[0], inside[_ETHERNET:])
