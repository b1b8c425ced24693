"""What of other programs stands in our way, in sentences an operator can act on. Pure."""

from collections.abc import Iterable, Sequence

from overlay.dataplane.read import Links
from overlay.model import ROUTE_PROTOCOL, Bridge, Family, Subnet, Vxlan
from overlay.netlink import LinkInfo, RouteInfo

RT_TABLE_MAIN = 254


def describe(networks: Sequence[Subnet], routes: Iterable[RouteInfo], links: Links) -> list[str]:
    """Foreign routes into ``networks``, and VXLAN devices that hold the VNI and port we want."""
    found = [_route(route, links) for route in routes if _in_the_way(route, networks, links)]
    for wanted in links.wanted.values():
        if isinstance(wanted, Vxlan):
            found += [
                _twin(link, wanted) for link in links.by_index.values() if _is_twin(link, wanted)
            ]
    return found


def _in_the_way(route: RouteInfo, networks: Sequence[Subnet], links: Links) -> bool:
    if route.table != RT_TABLE_MAIN or route.protocol == ROUTE_PROTOCOL or not route.dst.prefixlen:
        return False
    if links.ours(route.link, "vxlan") or links.ours(route.link, "bridge"):
        return False
    link = links.by_index.get(route.link)
    if link is not None and isinstance(links.wanted.get(link.name), Bridge):
        return False
    return any(_overlap(route.dst, network) for network in networks)


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one.version == other.version and one.overlaps(other)


def _route(route: RouteInfo, links: Links) -> str:
    link = links.by_index.get(route.link)
    flag = "-6 " if Family.of(route.dst) is Family.V6 else ""
    return (
        f"a route that is not ours leads into the pod network: {route.dst} dev "
        f"{link.name if link else '?'}; look: ip {flag}route show {route.dst}"
    )


def _is_twin(link: LinkInfo, wanted: Vxlan) -> bool:
    """The kernel allows one device per VNI, port and address family (of those without a lower link)."""
    other = link.vxlan
    if other is None or link.name == wanted.name or other.local is None:
        return False
    same_family = other.local.version == wanted.local.version
    return same_family and (other.vni, other.port) == (wanted.vni, wanted.port)


def _twin(link: LinkInfo, wanted: Vxlan) -> str:
    return (
        f"device {link.name} already serves VNI {wanted.vni} on UDP port {wanted.port}, "
        f"which {wanted.name} needs; look: ip -d link show {link.name}"
    )
