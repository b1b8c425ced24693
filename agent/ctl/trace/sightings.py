"""What was seen of a pod's packets, and where: the values of overlayctl trace. Pure."""

import enum
from collections.abc import Hashable
from dataclasses import dataclass

from overlay.model import Address


class Point(enum.Enum):
    """Where a packet was seen."""

    POD = "pod"
    """The host's end of the pod's veth."""
    TUNNEL = "tunnel"
    """The underlay, inside of a VXLAN packet."""
    DIRECT = "direct"
    """The underlay, as it is: direct routes and host-gw."""
    WORD = "word"
    """A router's word about packets of the tunnel or of the pod."""


class Way(enum.Enum):
    """From the pod or to the pod."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True)
class Known:
    """What tells the pod's packets from others. ``vnis`` are those of our devices, ``port`` their UDP port."""

    addresses: frozenset[Address]
    port: int
    vnis: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Sight:
    """One packet, seen once. ``at`` is in nanoseconds since 1970; ``inner`` and ``outer`` are for people.

    ``key`` is the same for the same packet wherever it is seen. ``flow`` and ``span`` are those of a TCP segment with
    data: its bytes by sequence number, which may come cut into several or put together from several. ``remarks`` say
    what is wrong with it. ``far`` is the other node's underlay address.
    """

    at: int
    point: Point
    way: Way
    source: str
    target: str
    protocol: str
    length: int
    inner: str
    key: Hashable
    ports: tuple[int, ...] = ()
    outer: str = ""
    vni: int | None = None
    far: str = ""
    flow: Hashable = None
    span: tuple[int, int] = (0, 0)
    remarks: tuple[str, ...] = ()

    @property
    def outside(self) -> bool:
        """On the underlay."""
        return self.point in (Point.TUNNEL, Point.DIRECT)

    @property
    def local(self) -> bool:
        """ARP, and what IPv6 has for it: it never leaves the link, and has no second sight."""
        return self.protocol in ("arp", "nd")
