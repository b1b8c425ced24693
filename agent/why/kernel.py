"""Reading one network namespace as facts: its links, the ways it would send packets, neighbours, FDB entries.

Works in the node's namespace and, with a socket opened inside it, in a pod's.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property

from agent.why.facts import Candidate, Link, Neighbour, Way
from overlay.errors import KernelRefused, OverlayError
from overlay.model import Address, Family
from overlay.netlink import LinkInfo, Netlink, RouteInfo, messages, parse, policy
from overlay.netlink.constants import RT_TABLE_LOCAL, RTPROT_KERNEL
from overlay.netlink.route_metrics import route_mtu

KINDS = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}
STATES = {
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}
"""linux/rtnetlink.h and linux/neighbour.h."""
_PROTOCOL_AT = 5
MOST_CANDIDATES = 16


class View:
    """One namespace at one moment; the list of links is read once."""

    def __init__(self, netlink: Netlink, *, own_protocol: int = 0) -> None:
        self._netlink, self._own = netlink, own_protocol
        self._routes_of: dict[Family, list[bytes]] = {}

    @cached_property
    def links(self) -> dict[int, LinkInfo]:
        """All links by index."""
        found = (parse.parse_link(body) for _, body in self._netlink.dump(messages.link_dump()))
        return {link.index: link for link in found}

    def named(self, name: str) -> LinkInfo | None:
        """A link by its name."""
        return next((link for link in self.links.values() if link.name == name), None)

    def name_of(self, index: int) -> str:
        """Of a link by its index, which may be in another namespace."""
        return self.links[index].name if index in self.links else ""

    def link(self, info: LinkInfo | None) -> Link | None:
        """A link with its addresses."""
        if info is None:
            return None
        vxlan = info.vxlan
        return Link(
            name=info.name,
            kind=info.kind,
            mac=info.mac,
            mtu=info.mtu,
            up=info.up,
            carrier=info.running,
            alias=info.alias[:600],
            master=self.name_of(info.master) if info.master else "",
            addresses=self.addresses(info.index)[:64],
            vni=vxlan.vni if vxlan else 0,
            port=vxlan.port if vxlan else 0,
            local=str(vxlan.local) if vxlan and vxlan.local else "",
        )

    def addresses(self, index: int) -> list[str]:
        """Of one link, with prefix lengths."""
        return [
            str(info.address)
            for family in Family
            for _, body in self._netlink.dump(messages.address_dump(family, link=index))
            if (info := parse.parse_address(body)).link == index
        ]

    def way(
        self, to: Address, *, source: Address | None = None, iif: LinkInfo | None = None
    ) -> Way:
        """Where a packet would go: sent from here, or arriving by ``iif`` from ``source``."""
        arriving = source is not None and iif is not None
        ask = policy.way_ask(
            to, source=source if arriving else None, iif=iif.index if arriving and iif else 0
        )
        try:
            body = self._netlink.get(ask)[0][1]
            route = parse.parse_route(body)
        except KernelRefused as error:
            words = os.strerror(error.errno)
            candidates = self.candidates(to)
            return Way(to=str(to), error=words, code=error.errno, candidates=candidates)
        except (OverlayError, IndexError) as error:
            return Way(to=str(to), error=str(error)[:600])
        return Way(
            to=str(to),
            link=self.name_of(route.link),
            via=str(route.via) if route.via else "",
            kind=KINDS.get(route.kind, str(route.kind)),
            table=route.table,
            mtu=route_mtu(body),
            candidates=self.candidates(to),
        )

    def candidates(self, to: Address) -> list[Candidate]:
        """All routes that contain an address, the most specific first, and the policy rules about it."""
        family = Family.of(to)
        found = [*self._rules(to, family), *self._routes(to, family)]
        return sorted(found, key=lambda one: -one.prefix)[:MOST_CANDIDATES]

    def _rules(self, to: Address, family: Family) -> Iterator[Candidate]:
        with contextlib.suppress(OverlayError):
            for _, body in self._netlink.dump(policy.rule_dump(family)):
                rule = policy.parse_rule(body)
                if not rule.action or (rule.dst is not None and to not in rule.dst):
                    continue
                where = f"to {rule.dst} " if rule.dst is not None else ""
                yield Candidate(
                    what=f"rule {rule.priority}: {where}{rule.action}",
                    table=0,
                    prefix=200,  # before any route
                    kind=rule.action,
                    undo=f"ip {_flag(family)}rule del pref {rule.priority}",
                )

    def _routes(self, to: Address, family: Family) -> Iterator[Candidate]:
        """Of all tables; a cheap look at the bytes passes over those that cannot contain the address."""
        number, bits = int(to), family.bits
        for body in self._all_routes(family):
            length = body[1] if len(body) > _PROTOCOL_AT else bits
            head = (number >> (bits - length) << (bits - length)).to_bytes(bits // 8, "big")
            if length and head[: (length + 7) // 8] not in body:
                continue
            route = parse.parse_route(body)
            if to in route.dst and route.table != RT_TABLE_LOCAL:
                yield self._candidate(route, family)

    def _all_routes(self, family: Family) -> list[bytes]:
        """Read once: a router may have a million."""
        if family not in self._routes_of:
            found: list[bytes] = []
            with contextlib.suppress(OverlayError):
                ask = messages.route_dump(family, table=0)
                found = [body for _, body in self._netlink.dump(ask)]
            self._routes_of[family] = found
        return self._routes_of[family]

    def _candidate(self, route: RouteInfo, family: Family) -> Candidate:
        kind, link = KINDS.get(route.kind, str(route.kind)), self.name_of(route.link)
        words = [] if kind == "unicast" else [kind]
        words.append("default" if not route.dst.prefixlen else str(route.dst))
        words += ["via", str(route.via)] if route.via else []
        words += ["dev", link] if link and kind == "unicast" else []
        words += ["table", str(route.table)]
        return Candidate(
            what=f"route {' '.join(words)} proto {route.protocol}",
            table=route.table,
            prefix=route.dst.prefixlen,
            kind=kind,
            link=link,
            ours=route.protocol in (self._own, RTPROT_KERNEL),
            undo=f"ip {_flag(family)}route del {' '.join(words)}",
        )

    def neighbour(self, link: str, address: Address) -> Neighbour | None:
        """The row of one address on one link, or None."""
        info = self.named(link)
        if info is None:
            return None
        for _, body in self._netlink.dump(
            messages.neighbour_dump(Family.of(address), link=info.index)
        ):
            row = parse.parse_neighbour(body)
            if row.address == address and row.link == info.index:
                return Neighbour(str(address), row.mac, STATES.get(row.state, str(row.state)))
        return None

    def fdb(self, link: str, mac: str) -> list[str] | None:
        """The underlay addresses that a VXLAN device has for a MAC; None if there is no such device."""
        info = self.named(link)
        if info is None:
            return None
        rows = (
            parse.parse_neighbour(body)
            for _, body in self._netlink.dump(messages.fdb_dump(link=info.index))
        )
        return [
            str(row.address)
            for row in rows
            if row.link == info.index and row.mac == mac and row.address is not None
        ][:8]


def _flag(family: Family) -> str:
    return "-6 " if family is Family.V6 else ""
