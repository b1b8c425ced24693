"""Judging the underlay between two nodes, from one node's facts: its link, the way to the other node. Pure."""

import ipaddress

from agent.why.ends import within
from agent.why.facts import Candidate, Facts, Link, Neighbour, Way
from agent.why.hop import Hop, Place
from overlay.family import Family


def specific(way: Way | None) -> list[Candidate]:
    """Routes about that address, not about all of the world."""
    return [one for one in way.candidates if one.prefix] if way is not None else []


def overhead(facts: Facts) -> int:
    """What the tunnel adds to a packet; nothing where it goes without."""
    device, way = facts.vxlan, facts.out
    if device is None or (way is not None and way.link and way.link != device.name):
        return 0
    return (Family.V6 if ":" in device.local else Family.V4).overhead


def underlay_link(place: Place, facts: Facts, tunnelled: bool) -> Hop:
    """The interface that carries it all."""
    name, link = "underlay link", facts.tunnel_link
    if link is None:
        return place.unknown(name, "it is not known which link carries it", "ip route")
    seen = f"{link.name} mtu {link.mtu}"
    if not link.up:
        why = f"the underlay link {link.name} is down"
        return place.broken(name, f"{link.name} down", why, f"ip link set {link.name} up")
    if not link.carrier:
        why = f"the underlay link {link.name} has no carrier: a cable, a switch, its other end"
        return place.broken(name, f"{link.name} no carrier", why, f"ip -d link show {link.name}")
    inner = facts.vxlan.mtu if tunnelled and facts.vxlan is not None else facts.mtu
    over = overhead(facts) if tunnelled else 0
    if inner and link.mtu < inner + over:
        why = f"MTU {link.mtu} of {link.name} does not hold {inner} and {over} for the tunnel"
        return place.broken(name, seen, why, f"ip link set {link.name} mtu {inner + over}")
    return place.ok(name, seen)


def underlay_route(place: Place, facts: Facts) -> Hop:
    """To the other node's underlay address."""
    name, way = "underlay route", facts.tunnel
    if way is None:
        return place.unknown(name, "the other node's underlay address is not known")
    said = way.error or f"{way.to} {f'via {way.via} ' if way.via else ''}dev {way.link}"
    flag = "-6 " if ":" in way.to else ""
    if not way.error and way.kind == "unicast":
        inner = facts.vxlan.mtu if facts.vxlan is not None else 0
        over = overhead(facts)
        if inner and 0 < way.mtu < inner + over:
            why = (
                f"the path MTU to {way.to} is {way.mtu}, less than {inner} and {over} for the tunnel, as the kernel "
                "remembers it (for ten minutes): if it is so again afterwards, a link on the way is that small"
            )
            return place.maybe(name, f"{said} mtu {way.mtu}", why, f"ip {flag}route flush cache")
        return place.ok(name, said)
    astray = next((it for it in specific(way) if it.kind != "unicast" and it.undo), None)
    if astray is not None:
        return place.broken(
            name, said, f"{astray.what} throws the tunnel's packets away", astray.undo
        )
    why = f"the underlay has no route to {way.to}: {said}"
    return place.broken(name, said, why, _reconnected(way, facts.tunnel_link, flag))


def _reconnected(way: Way, link: Link | None, flag: str) -> str:
    """The route that the kernel makes of an address, where the peer is on link."""
    for text in link.addresses if link is not None and link.up else []:
        own, _, length = text.partition("/")
        net = _network(text)
        if length and within(net, way.to):
            return f"ip {flag}route replace {net} dev {link.name if link else ''} src {own}"
    return f"ip {flag}route get {way.to}"


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_interface(text).network)
    except ValueError:
        return text


def underlay_neighbour(place: Place, facts: Facts) -> Hop:
    """Does the next hop of the underlay answer?"""
    name, row = "underlay neighbour", facts.tunnel_neighbour
    if row is None:
        return place.ok(name, "not asked for yet")
    return _learned(place, name, row, facts.tunnel.link if facts.tunnel else "")


def _learned(place: Place, name: str, row: Neighbour, link: str) -> Hop:
    seen = f"{row.address} {row.mac or '?'} {row.state}"
    if row.state == "FAILED":
        why = f"{row.address} does not answer on {link}: that node or what lies between is down"
        return place.broken(name, seen, why, f"ip neigh show to {row.address} dev {link}")
    if row.state == "PERMANENT":
        why = f"{row.address} has a static entry on {link}, {row.mac or '?'}, which may not be its MAC"
        return place.maybe(name, seen, why, f"ip neigh del {row.address} dev {link}")
    return place.ok(name, seen)
