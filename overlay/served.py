"""By which way a peer is reached, and why one is not: what a record says against what this node is. Pure."""

from typing import TYPE_CHECKING

from overlay.model import Address, Endpoint, Family, Lease, Network

if TYPE_CHECKING:
    from overlay.desired import Me, Vtep
_NOT_ON_LINK = "is not on link here"


def direct_by(network: Network, me: "Me", end: Endpoint) -> str:
    """The device by which a peer's endpoint is reached without a tunnel; empty if it is not."""
    if not network.backend.direct or end.underlay is None:
        return ""
    pool = network.pool(end.family)
    inside = pool is not None and int(end.subnet.network_address) in range(
        int(pool.network.network_address), int(pool.network.broadcast_address) + 1
    )
    # What is left of an earlier network config keeps its addresses only inside the tunnel, see overlay.rules.
    return me.connected.link_to(end.underlay) if inside or not network.backend.tunnels else ""


def ways(network: Network, me: "Me", peer: Lease) -> tuple[str, ...]:
    """How each endpoint that is served is reached: ``tunnel``, or ``direct by eth0``."""
    found = []
    for end in peer.endpoints:
        vtep = me.vtep(end.family)
        if vtep is not None and not why_not(network, me, vtep, peer, end):
            device = direct_by(network, me, end)
            found.append(f"direct by {device}" if device else "tunnel")
    return tuple(found)


def unserved(network: Network, me: "Me", peer: Lease) -> str:
    """Why no packet can be sent to a peer, "" if it can by at least one family."""
    reasons = [
        why_not(network, me, vtep, peer, end)
        if (vtep := me.vtep(end.family))
        else f"this node has no {end.family.name} tunnel"
        for end in peer.endpoints
    ]
    return "" if not all(reasons) else reasons[0] if reasons else "its record names no subnet"


def half(network: Network, me: "Me", peer: Lease) -> str:
    """Which family of a peer that is served is not, though this node has it, and why; or empty."""
    reasons = {
        end.family: why_not(network, me, vtep, peer, end)
        for end in peer.endpoints
        if (vtep := me.vtep(end.family))
    }
    said = [f"{family.name} not served: {why}" for family, why in reasons.items() if why]
    return ", ".join(said) if len(said) < len(reasons) else ""


def off_link(network: Network, me: "Me", peer: Lease) -> str:
    """Why host-gw does not reach a peer that it would serve on the same link; empty if that is not what is wrong."""
    why = "" if network.backend.tunnels else unserved(network, me, peer)
    return why if _NOT_ON_LINK in why else ""


def why_not(network: Network, me: "Me", vtep: "Vtep", peer: Lease, end: Endpoint) -> str:
    """flannel itself never compares VNIs: what it sends to another one is dropped on arrival."""
    backend = network.backend
    if not peer.backend and not peer.etcd_lease and end.mac is None:
        return "reserved, no node has taken it up"
    if peer.backend != backend.kind:
        return f"backend {peer.backend or 'udp'}, ours is {backend.kind}"
    if end.underlay is None:
        return f"its record has no PublicIP{'' if end.family is Family.V4 else 'v6'}"
    if not backend.tunnels:
        return _takes_too_much(network, vtep, end) or _off_link(me, vtep, end.underlay)
    if end.mac is None:
        return "its record has no VtepMAC"
    if end.vni is not None and end.vni != backend.vni:
        return f"VNI {end.vni}, ours is {backend.vni}"
    return _takes_too_much(network, vtep, end)


def _off_link(me: "Me", vtep: "Vtep", underlay: Address) -> str:
    if underlay == vtep.local or me.connected.link_to(underlay):
        return ""
    return (
        f"{underlay} {_NOT_ON_LINK} (ip route get {underlay}), and host-gw has no tunnel: use "
        '"Backend":{"Type":"vxlan","DirectRouting":true}'
    )


def _takes_too_much(network: Network, vtep: "Vtep", end: Endpoint) -> str:
    """No record may draw this node's other traffic into the tunnel, or the tunnel into itself.

    That a subnet lies outside of the network is no fault: so do all of those from before a new network config.
    """
    subnet, own = end.subnet, vtep.subnet
    family = end.family
    pool, length = network.pool(family), subnet.prefixlen
    if pool is not None and length < pool.network.prefixlen:
        return f"its subnet is wider than the network {pool.network}"
    # By numbers: `overlaps` and `in` of ipaddress take ten times as long, and thousands are judged at a start.
    number, bits = int(subnet.network_address), family.bits
    apart = (number ^ int(own.network_address)) >> (bits - min(length, own.prefixlen))
    if not apart and subnet != own:
        return f"its subnet overlaps this node's own, {own}"
    for address in (vtep.local, end.underlay or vtep.local):
        inside = not (number ^ int(address)) >> (bits - length)
        if inside and address.version == subnet.version:
            return f"its subnet holds the underlay address {address}"
    return ""
