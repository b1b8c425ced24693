"""What the kernel should hold: pure arithmetic from the network config, this node and its peers.

A packet's journey, which the three objects per peer serve: a pod's packet for 10.5.2.7 leaves the
bridge, the *route* 10.5.2.0/24 sends it to the VXLAN device with next hop 10.5.2.0 (the peer's VTEP
address), the *neighbour* gives that hop's inner MAC, and the *FDB entry* says which underlay address
owns that MAC. No packet is ever flooded and no ARP goes over the wire.

With DirectRouting the route to a peer on the same link leads to its underlay address instead, and the other two
stay: the way changes by replacing one route, so that no packet is lost. With host-gw there is nothing else.
"""

from dataclasses import dataclass, replace
from ipaddress import ip_interface

from overlay import ipv6, rules
from overlay.marks import Marks
from overlay.model import (
    LEAST_V6_MTU,
    RTPROT_KERNEL,
    Address,
    Bridge,
    Family,
    FdbEntry,
    HostAddress,
    KernelObject,
    Lease,
    LinkAddress,
    Neighbour,
    Network,
    Route,
    Ruleset,
    Subnet,
    Sysctl,
    Vxlan,
)
from overlay.onlink import NOTHING, OnLink
from overlay.schema import parse_key
from overlay.served import direct_by, why_not

BRIDGE_MAC_PREFIX = "0a:58:"
"""Locally administered, followed by the four bytes of an IPv4 address; also what cni/attach gives to pods."""
MAX_LINK_NAME = 15
"""IFNAMSIZ - 1, linux/if.h."""


@dataclass(frozen=True, slots=True)
class Vtep:
    """Our end for one family: the leased subnet and the device that serves it.

    ``mtu`` is the device's own (underlay MTU minus the family's overhead), in bytes. With host-gw there is no device:
    ``link`` and ``mac`` are empty, and the MTU is the pods'.
    """

    subnet: Subnet
    link: str
    mac: str
    local: Address
    underlay: str
    mtu: int

    @property
    def family(self) -> Family:
        """The address family of the subnet and of the underlay."""
        return Family.of(self.subnet)


@dataclass(frozen=True, slots=True)
class Me:
    """This node, once it holds a lease. ``ipv6_host`` is False where the kernel has IPv6 switched off.

    ``bridge_mac`` is that of a bridge which another program made, empty where it is ours to choose.
    ``narrow`` are the families whose underlay has too small an MTU for a tunnel, each with that MTU.
    ``draining`` are lease keys of ours that the network config no longer gives: their pods live on, no new
    ones are attached there. ``instance`` tells this agent's objects from those of others (overlay.marks).
    ``connected`` is what is on link, empty unless the backend is direct; ``strict`` are the underlays whose
    rp_filter drops what comes by another way than the answer goes.
    """

    lease_key: str
    vteps: tuple[Vtep, ...]
    bridge: str
    masquerade: bool = True
    fully_random: bool = True
    ipv6_host: bool = True
    draining: tuple[str, ...] = ()
    bridge_mac: str = ""
    instance: str = ""
    narrow: tuple[tuple[Family, int], ...] = ()
    connected: OnLink = NOTHING
    strict: tuple[str, ...] = ()

    @property
    def families(self) -> tuple[Family, ...]:
        """Those that have a tunnel, or would with more room."""
        return (*(vtep.family for vtep in self.vteps), *(family for family, _ in self.narrow))

    @property
    def own_keys(self) -> frozenset[str]:
        """The keys of all our records: none of them is a peer."""
        return frozenset((self.lease_key, *self.draining))

    def owns(self, key: str) -> bool:
        """True if a key is one of these; every peer's is asked."""
        return key == self.lease_key or key in self.draining

    @property
    def old_subnets(self) -> tuple[tuple[Vtep, Subnet], ...]:
        """What is being drained, each with the VTEP that serves it."""
        return tuple(
            (vtep, subnet)
            for key in self.draining
            for subnet in parse_key(key)
            if (vtep := self.vtep(Family.of(subnet))) is not None and subnet != vtep.subnet
        )

    @property
    def pod_mtu(self) -> int:
        """The largest packet every pod may send: what fits every family's tunnel, in bytes.

        But never so little that the kernel would take a pod's IPv6 addresses away: where the tunnels have less, the
        node itself answers a longer packet with "fragmentation needed".
        """
        least = LEAST_V6_MTU if self.vtep(Family.V6) else 0
        return max(least, min(vtep.mtu for vtep in self.vteps))

    def vtep(self, family: Family) -> Vtep | None:
        """Our VTEP of a family, or None."""
        for vtep in self.vteps:  # a generator costs three times as much, and every peer asks
            if vtep.family is family:
                return vtep
        return None


def device_name(family: Family, vni: int) -> str:
    """``overlay.<VNI>`` / ``overlay-v6.<VNI>``, shortened where the kernel's 15 characters do not hold it."""
    prefixes = ("overlay.", "ovl.") if family is Family.V4 else ("overlay-v6.", "ovl6.")
    return next(
        name for name in (f"{prefix}{vni}" for prefix in prefixes) if len(name) <= MAX_LINK_NAME
    )


def gateway(subnet: Subnet) -> HostAddress:
    """The bridge's address: the first of the subnet, with the subnet's prefix length."""
    return ip_interface(f"{subnet.network_address + 1}/{subnet.prefixlen}")


def bridge_mac(subnet: Subnet) -> str:
    """A MAC that outlives any port: without one a bridge takes, and changes to, its lowest port's MAC."""
    tail = int(gateway(subnet).ip) & 0xFFFFFFFF
    return BRIDGE_MAC_PREFIX + ":".join(f"{byte:02x}" for byte in tail.to_bytes(4, "big"))


def desired_node(network: Network, me: Me) -> tuple[KernelObject, ...]:
    """What this node needs whatever its peers are."""
    backend = network.backend
    bridge = Bridge(me.bridge, me.bridge_mac or bridge_mac(me.vteps[0].subnet), mtu=me.pod_mtu)
    objects: list[KernelObject] = [
        bridge,
        Ruleset(table=Marks(me.instance).table, text=_ruleset(network, me)),
    ]
    if (six := me.vtep(Family.V6)) is not None:
        objects += ipv6.carrying(bridge, six.link, six.underlay)
    for vtep in me.vteps:
        objects += [
            Sysctl(_FORWARDING[vtep.family], "1"),
            LinkAddress(me.bridge, gateway(vtep.subnet)),
            _own_way(me.bridge, vtep.subnet),
        ]
        if (
            vtep.family is Family.V4
        ):  # each link has a switch of its own, of which IPv6 takes no notice
            own = [it for it in (me.bridge, vtep.link, vtep.underlay) if it and _UNREADABLE not in it]
            objects += [Sysctl(f"net/ipv4/conf/{link}/forwarding", "1") for link in own]
        if not vtep.link:
            continue
        objects += [
            Vxlan(
                name=vtep.link,
                mac=vtep.mac,
                mtu=vtep.mtu,
                vni=backend.vni,
                port=backend.port,
                local=vtep.local,
                underlay=vtep.underlay,
                learning=backend.learning,
                gbp=backend.gbp,
            ),
            LinkAddress(vtep.link, _host(vtep.subnet.network_address)),
        ]
        if backend.direct and vtep.family is Family.V4:
            # Loose: a peer may tunnel what we answer directly, while it has not seen a change that we have.
            objects.append(Sysctl(f"net/ipv4/conf/{vtep.link}/rp_filter", "2"))
    for vtep, subnet in me.old_subnets:
        objects += [LinkAddress(me.bridge, gateway(subnet)), _own_way(me.bridge, subnet)]
        if vtep.link:
            objects.append(LinkAddress(vtep.link, _host(subnet.network_address)))
    if me.ipv6_host:
        links = [(me.bridge, me.pod_mtu), *((it.link, it.mtu) for it in me.vteps if it.link)]
        # Below that MTU a link has no IPv6, and no such switch.
        objects += ipv6.deaf([link for link, mtu in links if mtu >= LEAST_V6_MTU])
    return tuple(objects)


def desired_peer(network: Network, me: Me, peer: Lease) -> tuple[KernelObject, ...]:
    """The FDB entry, neighbour and route per family that lead to one peer; empty if none can."""
    objects: list[KernelObject] = []
    for end in peer.endpoints:
        vtep, mac = me.vtep(end.family), end.mac
        if vtep is None or end.underlay is None or why_not(network, me, vtep, peer, end):
            continue
        if (mac or "") == vtep.mac and end.underlay == vtep.local:
            continue  # an older record of our own: its subnet is on our bridge, not behind the tunnel
        link, via = vtep.link, end.subnet.network_address
        if link and mac is not None:
            objects.append(FdbEntry(link, mac, end.underlay))
            objects.append(Neighbour(link, via, mac))
        if device := direct_by(network, me, end):
            objects.append(Route(end.subnet, end.underlay, device, onlink=False))
        else:
            objects.append(Route(end.subnet, via, link))
    return _as_ours(objects, me) if me.instance else tuple(objects)


def _as_ours(objects: list[KernelObject], me: Me) -> tuple[KernelObject, ...]:
    """The routes of a named instance tell by their protocol whose they are."""
    protocol = Marks(me.instance).route_protocol
    return tuple(
        replace(item, protocol=protocol) if isinstance(item, Route) else item for item in objects
    )


def reserved(me: Me) -> tuple[KernelObject, ...]:
    """What no peer may ever claim: our own subnets, VTEP addresses and MACs. Never programmed."""
    objects: list[KernelObject] = []
    for vtep, subnet in (*((vtep, vtep.subnet) for vtep in me.vteps), *me.old_subnets):
        via = subnet.network_address
        if vtep.link:
            objects += [
                FdbEntry(vtep.link, vtep.mac, vtep.local),
                Neighbour(vtep.link, via, vtep.mac),
            ]
        objects.append(Route(subnet, via, me.bridge))
    return tuple(objects)


_UNREADABLE = "\ufffd"
"""In the name of an interface that is no UTF-8: its switch cannot be named, and is turned on with that of all."""
_FORWARDING = {Family.V4: "net/ipv4/ip_forward", Family.V6: "net/ipv6/conf/all/forwarding"}


def _ruleset(network: Network, me: Me) -> str:
    pairs = [
        (pool.network, vtep.subnet) for vtep in me.vteps if (pool := network.pool(vtep.family))
    ]
    draining = [(vtep.link, subnet) for vtep, subnet in me.old_subnets]
    return rules.render_inet(
        pairs,
        masquerade=me.masquerade,
        fully_random=me.fully_random,
        draining=draining,
        table=Marks(me.instance).table,
    )


def _own_way(bridge: str, subnet: Subnet) -> Route:
    """To our own pods, as the kernel makes it with the bridge's address (fib_add_ifaddr, addrconf_prefix_route)."""
    source = gateway(subnet).ip if Family.of(subnet) is Family.V4 else None
    return Route(subnet, None, bridge, onlink=False, protocol=RTPROT_KERNEL, source=source)


def _host(address: Address) -> HostAddress:
    return ip_interface(address)
