"""Which interface carries the tunnel, and with which address: never a guess by name.

Order: each `iface` entry (an exact name, an address, or a regular expression matched against addresses
first and names second), then `iface_can_reach`, then the default route. With `public_ip` alone the
interface that owns it is taken; if none does, it is a NAT address and only advertised.

The families may stand on different interfaces: an entry that has nothing of a family leaves it to the next one.
Only if none has, the interface of the first (by its name, or by its address of the other family) is it.
A target of `iface_can_reach` decides for its own family. The other one, without a target, is on the same interface
where that has an address of it, else where its own default route leads.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from overlay.dataplane.entries import bodies
from overlay.errors import BadConfig, NotReady, OverlayError
from overlay.marks import owner_of
from overlay.model import Address, Family
from overlay.netlink import AddressInfo, LinkInfo, Netlink, RouteInfo, messages, parse, sift
from overlay.netlink.constants import RT_TABLE_MAIN, RTN_LOCAL, RTN_UNICAST

IFA_F_SECONDARY, IFA_F_DADFAILED, IFA_F_DEPRECATED = 0x01, 0x08, 0x20
IFA_F_TENTATIVE, IFA_F_PERMANENT = 0x40, 0x80
"""linux/if_addr.h. For IPv6 secondary means temporary (RFC 8981)."""


@dataclass(frozen=True, slots=True)
class Underlay:
    """``mtu`` in bytes, as the interface says now."""

    link: str
    index: int
    address: Address
    mtu: int


@dataclass(frozen=True, slots=True)
class Hosts:
    """The host's links, addresses and those routes that can matter, at one moment; `choose` is pure on it."""

    links: tuple[LinkInfo, ...]
    addresses: tuple[AddressInfo, ...]
    routes: tuple[RouteInfo, ...]


def read(netlink: Netlink) -> Hosts:
    """One look at the kernel."""
    links = [parse.parse_link(body) for _, body in netlink.dump(messages.link_dump())]
    addresses: list[AddressInfo] = []
    routes: list[RouteInfo] = []
    for family in Family:
        addresses += [
            parse.parse_address(body) for _, body in netlink.dump(messages.address_dump(family))
        ]
        routes += _routes(netlink, family)
    return Hosts(tuple(links), tuple(addresses), tuple(routes))


def _routes(netlink: Netlink, family: Family) -> list[RouteInfo]:
    listed = bodies(netlink, messages.route_dump(family))
    return sift.near(sift.others(listed))


def choose(
    hosts: Hosts,
    family: Family,
    *,
    iface: Sequence[str] = (),
    reached_by: Mapping[Address, int] | None = None,
    public: Address | None = None,
    held: Collection[Address] = (),
) -> Underlay:
    """The underlay of one family. ``reached_by`` has the index of the link that routes to each target of
    `iface_can_reach`.

    Of several addresses one that is ``held``, which peers know, stays: who adds another one moves no tunnel.

    Raises:
        BadConfig: the settings name no interface of this host; the text lists what there is.
        NotReady: there is no address, or no default route, yet.
    """
    if iface:
        for wanted in iface:
            if found := _named(hosts, family, wanted, held):
                return found
        for wanted in iface:  # the interface is there, and its address is to come
            if (index := _meant(hosts, wanted)) is not None:
                return _with_address(hosts, family, index, held)
        raise BadConfig(
            f"iface = {', '.join(iface)!r}: no interface fits; there are: {_inventory(hosts, family)}",
            hint="ip address; the setting is iface",
        )
    reached_by = reached_by or {}
    for target, index in reached_by.items():
        if Family.of(target) is family:
            said = f"iface_can_reach = {target} is reached by {_name(hosts, index)}: "
            return _with_address(hosts, family, index, held, said)
    if public is not None and (owner := _owner(hosts, public)):
        return owner
    usable = _usable(hosts, family)
    for index in reached_by.values():  # a target of the other family
        if infos := [info for info in usable if info.link == index]:
            return _underlay(hosts, _best(infos, held))
    return _by_default(hosts, family, held, _targets_said(hosts, family, reached_by))


def _by_default(hosts: Hosts, family: Family, held: Collection[Address], said: str) -> Underlay:
    default = [
        route
        for route in hosts.routes
        if route.dst.prefixlen == 0
        and Family.of(route.dst) is family
        and (route.table, route.kind) == (RT_TABLE_MAIN, RTN_UNICAST)
        and route.link
    ]
    if default:
        link = min(default, key=lambda route: route.metric).link
        return _with_address(hosts, family, link, held, said)
    if stays := carrier(hosts, family, held):
        return stays  # a router that is away cuts nobody off from those on link
    wanted = "a target of each family: iface_can_reach = …,…" if said else "it: iface = …"
    raise NotReady(
        f"{said}no default route for {family.name}, so no underlay interface can be chosen",
        hint=f"name {wanted}; there are: {_inventory(hosts, family)}",
    )


def _targets_said(hosts: Hosts, family: Family, reached_by: Mapping[Address, int]) -> str:
    return "".join(
        f"iface_can_reach = {target} is reached by {_name(hosts, index)}, which has no {family.name} address; "
        for target, index in reached_by.items()
    )


def carrier(hosts: Hosts, family: Family, held: Collection[Address]) -> Underlay | None:
    """The interface that has one of these addresses now, whichever would be chosen."""
    infos = (info for info in _usable(hosts, family) if info.address.ip in held)
    return next((_underlay(hosts, info) for info in infos), None)


def dark(hosts: Hosts, names: Collection[str]) -> str:
    """Which of these interfaces carry nothing, and why; empty if all do. Addresses stay on a link that is down."""
    links = {link.name: link for link in hosts.links}
    said = []
    for name in dict.fromkeys(names):
        link = links.get(name)
        if link is None:
            said.append(f"{name} is gone")
        elif not link.up:
            said.append(f"{name} is down; next: ip link set {name} up")
        elif not link.running:
            said.append(f"{name} has no carrier; look: ip link show {name}")
    return " and ".join(said)


def reaches(netlink: Netlink, destination: Address) -> int:
    """The index of the link that routes to an address.

    Raises:
        NotReady: no route to it, or it is this node's own.
    """
    try:
        answer = netlink.get(messages.route_get(destination))
    except OverlayError as error:
        raise NotReady(
            f"iface_can_reach = {destination}: no route to it ({error})",
            hint=f"ip route get {destination}",
        ) from error
    route = next((parse.parse_route(body) for _, body in answer), None)
    if route is None or route.kind == RTN_LOCAL:  # a floating address may leave again
        raise NotReady(
            f"iface_can_reach = {destination}: that is this node's own address, it leads to no interface",
            hint="name an address of another machine, such as etcd's or a router's, or use iface",
        )
    return route.link


def _named(hosts: Hosts, family: Family, wanted: str, held: Collection[Address]) -> Underlay | None:
    for link in hosts.links:
        if link.name == wanted:
            infos = [info for info in _usable(hosts, family) if info.link == link.index]
            return _underlay(hosts, _best(infos, held)) if infos else None
    try:
        address = ip_address(wanted)
    except ValueError:
        return _matching(hosts, family, wanted, held)
    return _owner(hosts, address) if Family.of(address) is family else None


def _meant(hosts: Hosts, wanted: str) -> int | None:
    """The index of the interface that an entry names, or whose address it is, whatever the family."""
    for link in hosts.links:
        if link.name == wanted:
            return link.index
    owners = (info.link for info in hosts.addresses if str(info.address.ip) == wanted)
    return next(owners, None)


def _matching(
    hosts: Hosts, family: Family, pattern: str, held: Collection[Address]
) -> Underlay | None:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BadConfig(
            f"iface = {pattern!r}: neither an interface nor a regular expression: {error}",
            hint="ip -brief link; the setting is iface",
        ) from error
    fitting = [info for info in _usable(hosts, family) if expression.search(str(info.address.ip))]
    if fitting:
        return _underlay(hosts, _best(fitting, held))
    for link in hosts.links:
        if expression.search(link.name) and any(
            info.link == link.index for info in _usable(hosts, family)
        ):
            return _with_address(hosts, family, link.index, held)
    return None


def _owner(hosts: Hosts, address: Address) -> Underlay | None:
    infos = (info for info in hosts.addresses if info.address.ip == address)
    return next((_underlay(hosts, info) for info in infos), None)


def _with_address(
    hosts: Hosts, family: Family, index: int, held: Collection[Address], said: str = ""
) -> Underlay:
    infos = [info for info in _usable(hosts, family) if info.link == index]
    if not infos:
        name = _name(hosts, index)
        twice = [
            str(info.address.ip)
            for info in hosts.addresses
            if info.link == index and info.flags & IFA_F_DADFAILED
        ]
        why = f" ({', '.join(twice)} is a duplicate: another machine has it)" if twice else ""
        raise NotReady(
            f"{said}interface {name} has no {family.name} address yet{why}",
            hint=f"ip address show dev {name}",
        )
    return _underlay(hosts, _best(infos, held))


def _name(hosts: Hosts, index: int) -> str:
    return next((link.name for link in hosts.links if link.index == index), str(index))


def _usable(hosts: Hosts, family: Family) -> list[AddressInfo]:
    """Without those of our own devices: a pattern like ^10\\. fits them as well, while the true one has no address."""
    ours = {link.index for link in hosts.links if owner_of(link.alias) is not None}
    return [
        info
        for info in hosts.addresses
        if Family.of(info.address) is family
        and info.link not in ours
        and not info.address.ip.is_loopback
        and not (family is Family.V6 and info.address.ip.is_link_local)  # means nothing to peers
        and not info.flags & IFA_F_TENTATIVE
    ]


def _best(infos: Sequence[AddressInfo], held: Collection[Address]) -> AddressInfo:
    """One that is running out only if there is no other; global before link-local; the one held; permanent before
    one with a lifetime; primary before secondary.
    """
    return min(
        infos,
        key=lambda info: (
            info.flags & IFA_F_DEPRECATED,
            info.scope,
            info.address.ip not in held,
            not info.flags & IFA_F_PERMANENT,
            info.flags & IFA_F_SECONDARY,
        ),
    )


def _underlay(hosts: Hosts, info: AddressInfo) -> Underlay:
    link = next((link for link in hosts.links if link.index == info.link), None)
    if link is None:  # links are read before addresses
        raise NotReady(
            f"the interface of {info.address.ip} was made just now, looking again",
            hint="ip -brief link",
        )
    return Underlay(link.name, link.index, info.address.ip, link.mtu)


def _inventory(hosts: Hosts, family: Family) -> str:
    names = {link.index: link.name for link in hosts.links}
    found = [f"{names.get(info.link, '?')} {info.address.ip}" for info in _usable(hosts, family)]
    return ", ".join(found) or f"no interface with a {family.name} address"
