"""The frozen values everybody speaks: networks, leases, and the kernel objects we own.

Whose is what (delete only what bears our mark):

| object              | our mark                                                              |
|---------------------|-----------------------------------------------------------------------|
| Vxlan, Bridge       | ifalias ``overlay:...`` (an adopted ``flannel.<VNI>`` gets one)       |
| host end of a pod   | ifalias ``overlay:<network>/<container>/<ifname>``, name ``ovl*``     |
| Neighbour, FdbEntry | PERMANENT on our VXLAN device                                         |
| Route               | our protocol number, or any route via our VXLAN device                |
| Ruleset             | our own nft tables                                                    |
| address allocation  | a link under ``/run/overlay/ipam/<network>/``                         |
| etcd lease record   | our machine id                                                        |

Several agents of one node have marks of their own: overlay.marks has how theirs differ.

Family is data: an IPv4 and an IPv6 object differ in the addresses they hold, never in their type.
Links are named, not numbered, here; only ``dataplane`` knows interface indexes.
"""

import enum
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from overlay.family import Address, Family, HostAddress, Subnet
from overlay.keys import fdb_key, neighbour_key, route_key

__all__ = [
    "ALIAS_PREFIX",
    "DEFAULT_VXLAN_PORT",
    "LEAST_V6_MTU",
    "POD_LINK_PREFIX",
    "ROUTE_PROTOCOL",
    "RTPROT_KERNEL",
    "Action",
    "Address",
    "Backend",
    "Bridge",
    "Endpoint",
    "Family",
    "FdbEntry",
    "HostAddress",
    "KernelObject",
    "Lease",
    "LinkAddress",
    "Neighbour",
    "Network",
    "Pool",
    "Route",
    "Ruleset",
    "Step",
    "Subnet",
    "Sysctl",
    "Vxlan",
]

ALIAS_PREFIX = "overlay:"
POD_LINK_PREFIX = "ovl"
RTPROT_KERNEL = 2
"""linux/rtnetlink.h"""
ROUTE_PROTOCOL = 158
"""Our rtm_protocol. Unassigned in Linux' include/uapi/linux/rtnetlink.h and in FRR's and iproute2's tables."""
LEAST_V6_MTU = 1280
"""RFC 8200, section 5; below it Linux switches IPv6 off on a link and forgets its addresses."""
DEFAULT_VXLAN_PORT = 8472
"""Linux' default, which flannel keeps (RFC 7348 says 4789)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One family's share of the network config: what subnets are cut from. ``first``/``last`` are subnets."""

    network: Subnet
    subnet_len: int
    first: Subnet
    last: Subnet

    @property
    def family(self) -> Family:
        """The pool's address family."""
        return Family.of(self.network)


@dataclass(frozen=True, slots=True)
class Backend:
    """How the whole network reaches its peers: flannel's ``vxlan`` or ``host-gw``.

    ``mtu`` is the underlay's MTU, 0 means the interface's own.
    """

    kind: str = "vxlan"
    vni: int = 1
    port: int = DEFAULT_VXLAN_PORT
    mtu: int = 0
    direct_routing: bool = False
    learning: bool = False
    gbp: bool = False

    @property
    def tunnels(self) -> bool:
        """True if there is a tunnel at all."""
        return self.kind == "vxlan"

    @property
    def direct(self) -> bool:
        """True if peers on the same link are reached by plain routes."""
        return self.direct_routing or not self.tunnels

    def overhead(self, family: Family) -> int:
        """Bytes that the tunnel adds to a packet; a plain route adds none."""
        return family.overhead if self.tunnels else 0


@dataclass(frozen=True, slots=True)
class Network:
    """``P/config``, checked: one pool per family (IPv4 first) and the backend."""

    pools: tuple[Pool, ...]
    backend: Backend

    def pool(self, family: Family) -> Pool | None:
        """The pool of a family, or None where the family is off."""
        for pool in self.pools:  # a generator costs three times as much, and every peer asks
            if pool.family is family:
                return pool
        return None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One family's share of a lease: a pod subnet and the VTEP that leads to it.

    ``underlay`` is flannel's PublicIP or PublicIPv6; ``mac`` is lower-case ``aa:bb:cc:dd:ee:ff``.
    Either is None where the record does not say; such an endpoint cannot be reached by VXLAN.
    """

    subnet: Subnet
    underlay: Address | None = None
    mac: str | None = None
    vni: int | None = None

    @property
    def family(self) -> Family:
        """The endpoint's address family."""
        return Family.of(self.subnet)


@dataclass(frozen=True, slots=True)
class Lease:
    """One record under ``P/subnets``. ``key`` is the last path part, such as ``10.5.1.0-24``.

    Equality is of the whole value, revisions included only as far as they are compared on purpose:
    ``content()`` leaves them out, and ``challenge``: a question to the holder (agent/twins), no change.
    """

    key: str
    endpoints: tuple[Endpoint, ...]
    backend: str = "vxlan"
    node: str = ""
    machine_id: str = ""
    version: str = ""
    etcd_lease: int = 0
    create_revision: int = 0
    mod_revision: int = 0
    challenge: str = ""

    def endpoint(self, family: Family) -> Endpoint | None:
        """The endpoint of a family, or None."""
        return next((end for end in self.endpoints if end.family is family), None)

    def content(self) -> tuple[object, ...]:
        """What the record says, without etcd's bookkeeping: equal content means nothing to do."""
        return (self.key, self.endpoints, self.backend, self.node, self.machine_id, self.version)


# --- kernel objects: each has an identity (`key`) and whole-value equality ---------------------------
# Of the three kinds that every peer has, the key is made once and kept: all tables of them share it.


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A file under /proc/sys, such as ``net/ipv4/ip_forward``.

    ``instead_of`` is the only value that is to be changed; any other is somebody's wish. Empty: whatever it is.
    """

    path: str
    value: str
    instead_of: str = ""

    @property
    def rank(self) -> int:
        """What is kept comes first, then global switches; a switch of a link of ours needs that link."""
        if self.instead_of:
            return -1
        return 2 if "/conf/" in self.path and "/all/" not in self.path else 0

    def found(self, value: str | None) -> "Sysctl | None":
        """The switch as it is (None: not there), which is as wanted where it is not ours to change."""
        if self.instead_of and value != self.instead_of:
            return self
        return None if value is None else replace(self, value=value)

    @property
    def key(self) -> Hashable:
        """Identity."""
        return ("sysctl", self.path)

    def __str__(self) -> str:
        return f"sysctl {self.path.replace('/', '.')}={self.value}"


@dataclass(frozen=True, slots=True)
class Vxlan:
    """Our VTEP device; always UP. ``underlay`` is the name of the interface that carries ``local``.

    ``odd`` is what others gave it beside, in words, ``arp`` False where they turned that off: never wanted.
    """

    name: str
    mac: str
    mtu: int
    vni: int
    port: int
    local: Address
    underlay: str
    learning: bool = False
    gbp: bool = False
    up: bool = True
    odd: str = ""
    arp: bool = True
    rank: ClassVar[int] = 1

    @property
    def key(self) -> Hashable:
        """Identity."""
        return ("link", self.name)

    @property
    def fixed(self) -> tuple[object, ...]:
        """What cannot be changed on a living device: a difference here means delete and make anew."""
        return (self.vni, self.port, self.local, self.underlay, self.learning, self.gbp)

    def __str__(self) -> str:
        return (
            f"vxlan {self.name} vni={self.vni} port={self.port} local={self.local} "
            f"dev={self.underlay} mac={self.mac} mtu={self.mtu}" + ("" if self.up else " DOWN")
        )


@dataclass(frozen=True, slots=True)
class Bridge:
    """The node's pod bridge; always UP, and it always asks for neighbours (``arp``)."""

    name: str
    mac: str
    mtu: int
    up: bool = True
    arp: bool = True
    rank: ClassVar[int] = 1

    @property
    def key(self) -> Hashable:
        """Identity."""
        return ("link", self.name)

    def __str__(self) -> str:
        return f"bridge {self.name} mac={self.mac} mtu={self.mtu}" + ("" if self.up else " DOWN")


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address on one of our two links; ``peer``: others gave it one, whose the subnet is."""

    link: str
    address: HostAddress
    peer: Address | None = None
    rank: ClassVar[int] = 3  # after the switch that lets the link have any

    @property
    def key(self) -> Hashable:
        """Identity."""
        return ("address", self.link, self.address, self.peer)

    def __str__(self) -> str:
        return f"address {self.address} {f'peer {self.peer} ' if self.peer else ''}dev {self.link}"


@dataclass(frozen=True, slots=True)
class Ruleset:
    """One of our nft tables, whole. ``table`` is ``inet overlay``; ``text`` is what `nft -f` reads."""

    table: str
    text: str
    rank: ClassVar[int] = 3

    @property
    def key(self) -> Hashable:
        """Identity."""
        return ("nft", self.table)

    def __str__(self) -> str:
        return f"nft table {self.table}"


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """Inner MAC → underlay address of the VTEP that owns it (AF_BRIDGE neighbour, self, PERMANENT)."""

    link: str
    mac: str
    underlay: Address
    rank: ClassVar[int] = 4
    key: Hashable = field(init=False, repr=False, compare=False)
    """Identity: the kernel keeps one remote per unicast MAC, and any number of all others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", fdb_key(self.link, self.mac, self.underlay))

    def __str__(self) -> str:
        return f"fdb {self.mac} dst {self.underlay} dev {self.link}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Peer's VTEP address → its inner MAC (PERMANENT, so ARP is never on the wire)."""

    link: str
    ip: Address
    mac: str
    rank: ClassVar[int] = 5
    key: Hashable = field(init=False, repr=False, compare=False)
    """Identity."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", neighbour_key(self.link, self.ip))

    def __str__(self) -> str:
        return f"neighbour {self.ip} lladdr {self.mac} dev {self.link}"


@dataclass(frozen=True, slots=True)
class Route:
    """A peer's subnet, main table: via its VTEP address and onlink, or direct via its underlay address. Or the
    bridge's own subnet: ``protocol`` RTPROT_KERNEL, which the kernel makes with the address and nobody puts back.

    ``protocol`` is part of the value: an adopted flannel route (proto boot) is ours, differs, and is
    rewritten in place. ``odd`` is what others made it state, in words. ``metric`` is 0 for the usual one; with another
    one, or as the ``nth`` of several, it is one beside the one meant.
    """

    dst: Subnet
    via: Address | None
    link: str
    onlink: bool = True
    protocol: int = ROUTE_PROTOCOL
    source: Address | None = None
    odd: str = ""
    metric: int = 0
    nth: int = 0
    rank: ClassVar[int] = 6
    key: Hashable = field(init=False, repr=False, compare=False)
    """Identity: the kernel keeps routes of several metrics side by side."""

    def __post_init__(self) -> None:
        meant = route_key(self.dst)
        beside = self.metric or self.nth
        key = ("beside", meant, self.metric, self.nth) if beside else meant
        object.__setattr__(self, "key", key)

    def __str__(self) -> str:
        way = f"route {self.dst} via {self.via} dev {self.link}"
        return f"{way} metric {self.metric}" if self.metric else way


KernelObject = Sysctl | Vxlan | Bridge | LinkAddress | Ruleset | FdbEntry | Neighbour | Route
"""``rank`` orders creation (low first); removal goes the other way."""


class Action(enum.Enum):
    """What a step does to one object."""

    ADD = "add"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one kernel object. ``was`` is the present value of a REPLACE or DELETE."""

    action: Action
    object: KernelObject
    was: KernelObject | None = None

    def __str__(self) -> str:
        if self.action is Action.REPLACE:
            return f"replace {self.was} by {self.object}"
        return f"{self.action.value} {self.object}"
