"""What of other programs stands in our way, in sentences an operator can act on.

Nothing of it is ours to remove. A wider route than the pod network is no obstacle, because ours are narrower.
Looking costs a pass over the main table, where almost all is sorted out by its bytes before it is parsed.
"""

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from overlay.dataplane.detours import detours
from overlay.dataplane.entries import bodies
from overlay.desired import Me
from overlay.errors import KernelRefused
from overlay.marks import Marks, owner_of
from overlay.model import Family, Network, Pool, Subnet
from overlay.netlink import AddressInfo, LinkInfo, Netlink, RouteInfo, messages, parse, policy
from overlay.netlink.constants import RT_TABLE_MAIN, RTN_UNICAST, RTPROT_KERNEL
from overlay.netlink.parse import Record
from overlay.netlink.policy import PolicyRule

MOST_ADDRESSES = MOST_ROUTES = 8
"""Named one by one; what follows is counted."""
_LENGTH_AT, _PROTOCOL_AT = 1, 5
"""Where struct rtmsg has rtm_dst_len and rtm_protocol."""
_NAMES = {2: "kernel", 3: "boot", 4: "static", 12: "bird", 16: "dhcp", 186: "bgp", 188: "ospf"}
"""iproute2's rt_protos, those that are met with."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """``what`` names it for good, ``why`` is a sentence with the command that shows it."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The host's links, addresses and routes at one moment."""

    links: Sequence[LinkInfo]
    addresses: Iterable[AddressInfo]
    routes: Iterable[RouteInfo]
    detours: Iterable[tuple[Pool, PolicyRule, RouteInfo | None]] = ()


class Needs:
    """What this node needs to be free, and whether something is in it."""

    def __init__(self, network: Network, me: Me) -> None:
        self.pools = network.pools
        self.backend = network.backend
        self.vteps = {vtep.link: vtep for vtep in me.vteps if vtep.link}
        self.underlays = {vtep.underlay for vtep in me.vteps}
        self.bridge, self.subnets = me.bridge, [vtep.subnet for vtep in me.vteps]
        self.marks = Marks(me.instance)

    def concerns(self, record: Record) -> bool:
        """True if a change of this may make or end an obstacle. Cheap: called for each kernel event."""
        match record:
            case LinkInfo():
                return record.vxlan is not None and record.name not in self.vteps
            case AddressInfo():
                return self.overlapped(record.address.network) is not None
            case RouteInfo():
                ours = record.protocol == self.marks.route_protocol
                return not ours and self.pool_of(record.dst) is not None
            case PolicyRule():
                return True
            case _:
                return False

    def overlapped(self, subnet: Subnet) -> Pool | None:
        """The pool that shares addresses with a subnet."""
        same = (pool for pool in self.pools if pool.network.version == subnet.version)
        return next((pool for pool in same if subnet.overlaps(pool.network)), None)

    def own(self, network: Subnet) -> Subnet | None:
        """The subnet of this node that has all of a network's addresses."""
        same = (it for it in self.subnets if it.version == network.version)
        return next((it for it in same if it.supernet_of(network)), None)  # type: ignore[arg-type]

    def pool_of(self, subnet: Subnet) -> Pool | None:
        """The pool that a subnet lies in."""
        pool = self.overlapped(subnet)
        inside = pool is not None and subnet.prefixlen >= pool.network.prefixlen
        return pool if inside else None

    def is_ours(self, link: LinkInfo | None) -> bool:
        """Our devices, adopted ones included."""
        return link is not None and (
            link.name == self.bridge or link.name in self.vteps or self.marks.are_on(link.alias)
        )


def look(netlink: Netlink, needs: Needs) -> list[Obstacle]:
    """What stands in the way now.

    Raises:
        KernelBusy: the kernel's lists changed while they were read.
    """
    links = [parse.parse_link(body) for _, body in netlink.dump(messages.link_dump())]
    families = [pool.family for pool in needs.pools]
    addresses = [
        parse.parse_address(body)
        for family in families
        for _, body in netlink.dump(messages.address_dump(family))
    ]
    routes = (
        parse.parse_route(body)
        for pool in needs.pools
        for body in _candidates(netlink, pool, needs.marks.route_protocol)
    )
    return describe(needs, Seen(links, addresses, routes, _detours(netlink, needs, links)))


def describe(needs: Needs, seen: Seen) -> list[Obstacle]:
    """Devices, addresses, then routes. Pure."""
    by_index = {link.index: link for link in seen.links}
    found = [it for link in seen.links if (it := _device(needs, link))]
    overlaps: list[Obstacle] = []
    connected: set[tuple[int, Subnet]] = set()
    for info in seen.addresses:
        link = by_index.get(info.link)
        if link is not None and (obstacle := _address(needs, link, info)):
            connected.add((info.link, info.address.network))
            overlaps.append(obstacle)
    overlaps = list(dict.fromkeys(overlaps))
    found += overlaps[:MOST_ADDRESSES]
    cluster = " ".join(str(pool.network) for pool in needs.pools)
    if (more := len(overlaps) - MOST_ADDRESSES) > 0:
        why = f"{more} more addresses that are not ours overlap it; look: ip address show to {cluster}"
        found.append(Obstacle(f"addresses in {cluster}", why))
    routes = (
        route
        for route in seen.routes
        if _leads_in(needs, route, by_index.get(route.link))
        and not (route.protocol == RTPROT_KERNEL and (route.link, route.dst) in connected)
    )
    found += [_route(route, by_index.get(route.link)) for route in islice(routes, MOST_ROUTES)]
    if more := sum(1 for _ in routes):
        why = (
            f"{more} more routes that are not ours lead into it; look: ip route show root {cluster}"
        )
        found.append(Obstacle(f"routes into {cluster}", why))
    by_name = {link.index: link.name for link in seen.links}
    found += [_detour(*it, by_name) for it in seen.detours]
    return list(dict.fromkeys(found))


def _detours(
    netlink: Netlink, needs: Needs, links: Iterable[LinkInfo]
) -> Iterator[tuple[Pool, PolicyRule, RouteInfo | None]]:
    """Of hosts with the kernel's three rules alone this costs one short list per family."""
    ours = {link.index: link.name for link in links if needs.is_ours(link)}
    for pool in needs.pools:
        try:
            answers = netlink.dump(policy.rule_dump(pool.family))
        except KernelRefused as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            continue  # a kernel with one table for all
        rules = [policy.parse_rule(body) for _, body in answers]
        others = partial(_table, netlink, pool, ours)
        for rule, route in detours(pool, rules, others, set(ours.values())):
            yield pool, rule, route


def _table(netlink: Netlink, pool: Pool, ours: Collection[int], number: int) -> Iterator[RouteInfo]:
    """What may lead the pool elsewhere: what is wider, and what lies in it."""
    head = pool.network.network_address.packed[: pool.network.prefixlen // 8]
    for body in bodies(netlink, messages.route_dump(pool.family, table=number)):
        if len(body) > _LENGTH_AT and (body[_LENGTH_AT] <= pool.network.prefixlen or head in body):
            route = parse.parse_route(body)
            if route.link not in ours:
                yield route


def _detour(
    pool: Pool, rule: PolicyRule, route: RouteInfo | None, names: Mapping[int, str]
) -> Obstacle:
    flag = "-6 " if pool.family is Family.V6 else ""
    look = f"look: ip {flag}rule show"
    if route is None:
        why = f"it throws packets of the pod network {pool.network} away ({rule.action})"
        return Obstacle(f"rule {rule.priority}", f"{why}; {look}")
    where = f"dev {names[route.link]}" if route.link in names else "nowhere"
    why = (
        f"it is not ours, and has table {rule.table} decide before our routes: there {route.dst} leads packets of the "
        f"pod network {pool.network} to {where}"
    )
    look = f"{look}; ip {flag}route show table {rule.table}"
    return Obstacle(f"rule {rule.priority} lookup {rule.table}", f"{why}; {look}")


def _candidates(netlink: Netlink, pool: Pool, own: int) -> Iterator[bytes]:
    """The routes of the main table that may lead into a pool; of a router's full table hardly any is left."""
    head = pool.network.network_address.packed[: pool.network.prefixlen // 8]
    for body in bodies(netlink, messages.route_dump(pool.family)):
        if len(body) > _PROTOCOL_AT and body[_PROTOCOL_AT] != own and head in body:
            yield body


def _device(needs: Needs, link: LinkInfo) -> Obstacle | None:
    """The kernel allows one device per VNI, port and family; one for every VNI, or for GBP, has the port alone."""
    other = link.vxlan
    if other is None or link.name in needs.vteps or other.port != needs.backend.port:
        return None
    family = Family.V4 if other.local is None else Family.of(other.local)
    vtep = next((it for it in needs.vteps.values() if it.family is family), None)
    if not other.vni:  # "external": of both families
        vtep, has = next(iter(needs.vteps.values()), None), "every VNI"
    elif other.vni == needs.backend.vni:
        has = f"VNI {other.vni}"
    elif other.gbp != needs.backend.gbp:
        has = "packets with GBP" if other.gbp else "packets without GBP"
    else:
        return None
    if vtep is None:
        return None
    return Obstacle(
        f"device {link.name}",
        f"it already serves {has} on UDP port {other.port}{_whose(link)}, which {vtep.link} needs; "
        f"look: ip -d link show {link.name}",
    )


def _address(needs: Needs, link: LinkInfo, info: AddressInfo) -> Obstacle | None:
    pool = None if needs.is_ours(link) else needs.overlapped(info.address.network)
    if pool is None:
        return None
    if link.name in needs.underlays:
        why = (
            f"the underlay's own network and the pod network {pool.network} overlap: nodes and pods with the same "
            "addresses cannot reach each other; choose another Network for the pods"
        )
    elif own := needs.own(info.address.network):
        why = (
            f"it{_whose(link)} lies in this node's own subnet {own}, which {needs.bridge} serves: one of the two has "
            "the packets for the pods of this node"
        )
    else:
        inside = info.address.network.prefixlen >= pool.network.prefixlen
        where = "lies in" if inside else "holds"
        why = f"it{_whose(link)} {where} the pod network {pool.network}: pods there cannot be reached from this node"
    flag = "-6 " if info.address.version == 6 else ""
    look = f"look: ip {flag}address show dev {link.name}"
    return Obstacle(f"address {info.address} on {link.name}", f"{why}; {look}")


def _leads_in(needs: Needs, route: RouteInfo, link: LinkInfo | None) -> bool:
    if route.table != RT_TABLE_MAIN or route.protocol == needs.marks.route_protocol:
        return False
    pool = needs.pool_of(route.dst)
    if pool is None or needs.is_ours(link):
        return False
    # a blackhole for the rest of the range keeps strays from leaking out, and is wider than what we route
    return route.kind == RTN_UNICAST or route.dst.prefixlen >= pool.subnet_len


def _route(route: RouteInfo, link: LinkInfo | None) -> Obstacle:
    flag = "-6 " if Family.of(route.dst) is Family.V6 else ""
    name = link.name if link else "none"
    protocol = _NAMES.get(route.protocol, str(route.protocol))
    return Obstacle(
        f"route {route.dst} dev {name}",
        f"it is not ours (proto {protocol}) and leads into the pod network; look: ip {flag}route show {route.dst}",
    )


def _whose(link: LinkInfo) -> str:
    other = owner_of(link.alias)
    return f" (that of the overlay-agent that is {other})" if other else ""
