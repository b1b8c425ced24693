"""Who is asked, at which address, and from where: from leases to targets. Pure.

Every node with a tunnel, flanneld's as well, has the network address of its subnet (10.5.3.0) on its VXLAN device,
from the moment it has a lease, whichever way its packets take (DirectRouting changes the way there, not who answers),
and for a subnet that is being drained, too. The bridge's address (10.5.3.1) would not do: flannel's bridge is made
with the first pod, and IPv6 stays tentative on a bridge without ports. Only where there is no tunnel at all (host-gw)
is the bridge's all there is.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from overlay.desired import Me, Vtep, gateway
from overlay.model import DEFAULT_VXLAN_PORT, Address, Family, Lease, Network, Subnet
from overlay.served import direct_by, why_not

Id = tuple[str, int]
"""A lease's key and the family's number: one endpoint of one peer."""


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint: ``address`` within ``subnet`` is asked from ``source``; ``underlay`` from ``local``.

    ``full`` is the largest packet that pods here may send. ``port`` is the tunnel's UDP port, 0 where the way is a
    plain route; ``device`` is the interface that packets leave by. Pods' MTU is the underlay's less ``overhead``,
    also where the way is plain and a packet stays as long as it is.
    """

    key: str
    node: str
    subnet: Subnet
    address: Address
    source: Address
    underlay: Address
    local: Address
    full: int
    device: str = ""
    port: int = DEFAULT_VXLAN_PORT
    overhead: int = 0

    @property
    def family(self) -> Family:
        """Of the endpoint."""
        return Family.of(self.address)

    @property
    def id(self) -> Id:
        """Its identity."""
        return self.key, self.family.value

    @property
    def answers_from(self) -> tuple[Address, ...]:
        """The network address is an anycast one in IPv6: by another way than the tunnel, Linux answers from the
        interface that it sends by (icmpv6_echo_reply, RFC 4443 section 2.2).
        """
        anycast = self.family is Family.V6 and not self.port
        return (self.address, self.underlay) if anycast else (self.address,)

    @property
    def added(self) -> int:
        """Bytes that a packet is longer by on the underlay."""
        return self.overhead if self.port else 0

    @property
    def name(self) -> str:
        """For people: the node's, or the subnet where the record has none (flannel's have none)."""
        return self.node or str(self.subnet)


def answering(network: Network, subnet: Subnet) -> Address:
    """The address of a subnet that its node answers at."""
    return subnet.network_address if network.backend.tunnels else gateway(subnet).ip


def targets(network: Network, me: Me, leases: Iterable[Lease]) -> list[Target]:
    """All endpoints that this node can send to; its own are none."""
    found = []
    for lease in leases:
        if me.owns(lease.key):
            continue
        for end in lease.endpoints:
            vtep = me.vtep(end.family)
            if vtep is None or end.underlay is None or end.underlay == vtep.local:
                continue
            if why_not(network, me, vtep, lease, end):
                continue
            direct = direct_by(network, me, end)
            found.append(
                Target(
                    key=lease.key,
                    node=lease.node,
                    subnet=end.subnet,
                    address=answering(network, end.subnet),
                    source=answering(network, vtep.subnet),
                    underlay=end.underlay,
                    local=vtep.local,
                    full=_full(me, vtep),
                    device=direct or vtep.underlay,
                    port=0 if direct else network.backend.port,
                    overhead=network.backend.overhead(end.family),
                )
            )
    return found


def _full(me: Me, vtep: Vtep) -> int:
    """Pods of both families may have more than this one's tunnel takes: then the node answers "too big"."""
    return min(me.pod_mtu, vtep.mtu)
