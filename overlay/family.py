"""Address families as data: what depends on IPv4 or IPv6, and nothing else. Pure."""

import enum
import socket
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network
HostAddress = IPv4Interface | IPv6Interface  # an address with its prefix length, "10.5.1.1/24"


class Family(enum.Enum):
    """An address family and what depends on nothing else."""

    V4 = 4
    V6 = 6

    @property
    def af(self) -> int:
        """AF_INET or AF_INET6."""
        return socket.AF_INET if self is Family.V4 else socket.AF_INET6

    @property
    def bits(self) -> int:
        """Length of an address."""
        return 32 if self is Family.V4 else 128

    @property
    def overhead(self) -> int:
        """Bytes VXLAN adds over an underlay of this family: Ethernet 14 + VXLAN 8 + UDP 8 + IP 20 or 40."""
        return 50 if self is Family.V4 else 70

    @staticmethod
    def of(value: Address | Subnet | HostAddress) -> "Family":
        """The family of an address, a network or an interface address."""
        return _BY_TYPE[type(value)]


_BY_TYPE: dict[type, Family] = {
    **dict.fromkeys((IPv4Address, IPv4Network, IPv4Interface), Family.V4),
    **dict.fromkeys((IPv6Address, IPv6Network, IPv6Interface), Family.V6),
}
"""An enum's own look-up costs ten times as much, and this is asked a dozen times per peer."""
