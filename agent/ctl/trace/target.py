"""Which pod is meant, where its packets can be heard, and who the others are: by the journal and the kernel alone."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from pathlib import Path

from agent.config import Config
from agent.ctl import nodepage
from agent.ctl.client import ask
from agent.ctl.trace.sightings import Sight, Way
from cni.ipam import Ipam, is_address
from cni.record import Attachment
from overlay.errors import BadConfig, OverlayError
from overlay.marks import Marks
from overlay.model import DEFAULT_VXLAN_PORT, Address, Family, Subnet
from overlay.netlink import LinkInfo, Netlink, messages, parse

MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Target:
    """One pod of this node: its link's host end and its addresses."""

    name: str
    container: str
    link: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Ways:
    """How the overlay leaves this node. ``meshed`` are the subnets that it leads to, ``own`` those of this node."""

    underlays: tuple[str, ...]
    port: int
    vnis: frozenset[int]
    meshed: tuple[Subnet, ...]
    own: tuple[Subnet, ...]


def find(run_dir: Path, wanted: str, others: Mapping[Subnet, str]) -> Target:
    """The pod of a name (``web`` or ``default/web``), an address, or the beginning of a container's id.

    Raises:
        BadConfig: no pod of this node, or several; where the address is another node's, that node is named.
    """
    store = Ipam(run_dir)
    records = [found for place in store.places() if (found := store.record_at(place))]
    fits = [record for record in records if _is_meant(record, wanted)]
    if len(fits) == 1 and fits[0].host_link:
        record = fits[0]
        addresses = tuple(ip_interface(text).ip for text in record.addresses)
        return Target(
            record.pod or record.container[:12], record.container, record.host_link, addresses
        )
    if fits:
        names = ", ".join(
            f"{it.pod or it.container[:12]} ({', '.join(it.addresses)})" for it in fits[:MOST_SHOWN]
        )
        why = "has no link of ours" if len(fits) == 1 else "is more than one attachment"
        raise BadConfig(f"{wanted!r} {why}: {names}", hint="overlayctl ipam show")
    if is_address(wanted):
        for subnet, node in others.items():
            if ip_address(wanted) in subnet:
                raise BadConfig(
                    f"{wanted} is no pod of this node: {subnet} is {node}'s",
                    hint=f"on {node}: overlayctl trace {wanted}",
                )
    raise BadConfig(f"no pod of this node is {wanted!r}", hint="overlayctl ipam show")


def _is_meant(record: Attachment, wanted: str) -> bool:
    if is_address(wanted):
        return any(ip_interface(text).ip == ip_address(wanted) for text in record.addresses)
    name = record.pod.rpartition("/")[2]
    return wanted in (record.pod, name) or (
        len(wanted) >= 6 and record.container.startswith(wanted)
    )


def ways(marks: Marks, run_dir: Path) -> Ways:
    """By our devices and our routes, and the node page where there is one.

    Raises:
        BadConfig: nothing of ours leads away from this node.
    """
    with Netlink() as netlink:
        links = {
            it.index: it
            for _, body in netlink.dump(messages.link_dump())
            for it in [parse.parse_link(body)]
        }
        routes = [
            route for family in Family for route in _routes(netlink, family, marks.route_protocol)
        ]
    tunnels = [it for it in links.values() if it.vxlan is not None and marks.are_on(it.alias)]
    lower = [_lower(it, links) for it in tunnels]
    indexes = {it.index for it in tunnels}
    direct = [links[it.link].name for it in routes if it.link in links and it.link not in indexes]
    underlays = tuple(dict.fromkeys([name for name in [*lower, *direct] if name]))
    if not underlays:
        raise BadConfig(
            "nothing of the overlay leads away from this node: no VXLAN device of ours, no direct route",
            hint="overlayctl status",
        )
    infos = [it.vxlan for it in tunnels if it.vxlan is not None]
    page = nodepage.page(run_dir)
    own = tuple(it.subnet for it in page.families) if page else ()
    meshed = tuple(it.cluster for it in page.families) if page else tuple(it.dst for it in routes)
    port = infos[0].port if infos else DEFAULT_VXLAN_PORT
    return Ways(underlays, port, frozenset(it.vni for it in infos), meshed, own)


def _routes(netlink: Netlink, family: Family, protocol: int) -> list[parse.RouteInfo]:
    with contextlib.suppress(OverlayError):  # no such table yet
        answers = netlink.dump(messages.route_dump(family, protocol=protocol))
        return [parse.parse_route(body) for _, body in answers]
    return []


def _lower(tunnel: LinkInfo, links: Mapping[int, LinkInfo]) -> str:
    found = links.get(tunnel.vxlan.lower) if tunnel.vxlan else None
    return found.name if found else ""


@dataclass(frozen=True, slots=True)
class Peers:
    """The other nodes, as far as the agent says: names by underlay address and by subnet."""

    by_underlay: Mapping[str, str]
    by_subnet: Mapping[Subnet, str]

    def name(self, sight: Sight) -> str:
        """Of the node at the other end; its underlay address where it has none, nothing where nobody knows."""
        if sight.far:
            return self.by_underlay.get(sight.far, sight.far)
        other = ip_address(sight.target if sight.way is Way.OUT else sight.source)
        return next((name for net, name in self.by_subnet.items() if other in net), "")


def peers(settings: Config) -> Peers:
    """Nobody where no agent answers: the capture goes on without names."""
    by_underlay: dict[str, str] = {}
    by_subnet: dict[Subnet, str] = {}
    with contextlib.suppress(OverlayError, KeyError, TypeError, ValueError):
        for row in ask(settings.run_dir, "peers", timeout_s=3.0)["peers"]:
            for text in row["underlay"].split(", "):
                by_underlay[text] = row["node"] if row["node"] != "-" else text
            for text in row["subnet"].split(", "):
                first = row["underlay"].split(", ")[0]
                name = row["node"] if row["node"] != "-" else first
                by_subnet[ip_interface(text).network] = name
    return Peers(by_underlay, by_subnet)
