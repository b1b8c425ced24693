"""Judging one end of the path: the pod, its veth, the bridge. Pure."""

import ipaddress
from collections.abc import Iterator

from agent.why.facts import Facts, Link, Neighbour, Pod, Taken
from agent.why.hop import Hop, Place

RESTART = "systemctl restart overlay-agent"
NOTHING = "no such pod is attached here"


def source(facts: Facts, spec: str, to: str, *, beside: Link | None = None) -> Iterator[Hop]:
    """From the pod to its node's bridge; ``beside``: the other pod's link, where it is on the same bridge."""
    place, pod = Place(facts.node), facts.pod
    yield from attachment(facts, spec)
    if pod is None or pod.link is None:
        yield from _outside(facts, place)
        return
    yield address(place, pod, pod.link)
    yield mtu(place, facts, pod, pod.link)
    yield route(place, facts, pod, to)
    yield rules(place, "rules in the pod", pod.leaving, enter=pod.enter)
    yield from _outside(facts, place)
    yield neighbour(place, facts, pod, beside=beside)


def target(facts: Facts, spec: str) -> Iterator[Hop]:
    """From the bridge, which was judged before, to the pod."""
    place, pod = Place(facts.node), facts.pod
    yield from attachment(facts, spec)
    yield from _port(place, facts)
    yield rules(place, "rules of the bridge", facts.bridge_in)
    if pod is None or pod.link is None:
        return
    yield address(place, pod, pod.link)
    yield mtu(place, facts, pod, pod.link)
    yield _known_to_bridge(place, facts, pod.link)
    yield rules(place, "rules in the pod", pod.entering, enter=pod.enter)


def attachment(facts: Facts, spec: str) -> Iterator[Hop]:
    """Is there such a pod, and can it be looked into?"""
    place, pod, name = Place(facts.node), facts.pod, "attachment"
    if pod is None:
        yield place.broken(name, "none", f"no pod here is {spec}", "overlayctl ipam show")
    elif pod.fault:
        yield place.broken(name, pod.fault, f"the pod is dead: {pod.fault}", "overlayctl gc")
    elif pod.link is None:
        why = f"the pod has no interface {pod.ifname}"
        yield place.broken(name, why, f"{why} any more: start the pod anew", "overlayctl ipam show")
    else:
        yield place.ok(name, f"{pod.name or pod.container[:12]} {pod.ifname}")


def address(place: Place, pod: Pod, link: Link) -> Hop:
    """The pod's interface and what it is called by."""
    name, wanted = "address in the pod", pod.address
    seen = " ".join(link.addresses) or "none"
    if not link.up:
        why = f"interface {link.name} is down in the pod"
        return place.broken(name, "down", why, f"{pod.enter} ip link set {link.name} up")
    if wanted and wanted not in link.addresses:
        bare = wanted.partition("/")[0]
        other = next((it for it in link.addresses if it.partition("/")[0] == bare), "")
        mend = f"{pod.enter} ip address add {wanted} dev {link.name}"
        if other:
            mend += f"; {pod.enter} ip address del {other} dev {link.name}"
            return place.broken(name, seen, f"the netmask is wrong: {other}, not {wanted}", mend)
        return place.broken(name, seen, f"address {wanted} is gone from {link.name}", mend)
    return place.ok(name, f"{wanted or seen} on {link.name}")


def mtu(place: Place, facts: Facts, pod: Pod, link: Link) -> Hop:
    """Nothing larger may be sent than what the rest of the way holds: a veth drops it without a word."""
    name = "MTU in the pod"
    most = pod.given_mtu or facts.mtu
    if facts.veth is not None:
        most = min(most, facts.veth.mtu) if most else facts.veth.mtu
    if most and link.mtu > most:
        why = f"MTU {link.mtu} of {link.name} is more than the {most} that fit: larger packets are lost"
        return place.broken(
            name, str(link.mtu), why, f"{pod.enter} ip link set {link.name} mtu {most}"
        )
    return place.ok(name, f"{link.mtu}")


def route(place: Place, facts: Facts, pod: Pod, to: str) -> Hop:
    """Does the pod know a way?"""
    name, way = "route in the pod", pod.way
    gateway = facts.gateway.partition("/")[0]
    if way is None:
        return place.unknown(name, "it could not be read")
    flag = "-6 " if ":" in way.to else ""
    again = f"{pod.enter} ip {flag}route replace default via {gateway} dev {pod.ifname}"
    if way.error:
        foreign = next((it for it in way.candidates if it.kind not in ("unicast", "local")), None)
        if foreign is not None and foreign.undo:
            why = f"in the pod {foreign.what} takes it ({way.error})"
            return place.broken(name, foreign.what, why, f"{pod.enter} {foreign.undo}")
        return place.broken(name, way.error, f"the pod has no route to {to}: {way.error}", again)
    via = f"via {way.via} dev {way.link}" if way.via else f"dev {way.link}"
    if way.kind == "local":
        return place.ok(name, "local")
    first = next((it for it in way.candidates if it.link == way.link), None)
    if way.link != pod.ifname:  # a second network of the pod may be meant
        seen = first.what if first else via
        why = f"the pod sends it {via}, not by {pod.ifname}"
        return place.broken(name, seen, why, f"{pod.enter} {first.undo}" if first else again)
    if way.via and gateway and way.via not in (gateway, *_bare(facts.bridge)):
        why = f"the pod's route leads via {way.via}, which is not the bridge; its gateway is {gateway}"
        narrow = first.undo if first is not None and first.prefix else ""
        return place.broken(name, via, why, f"{pod.enter} {narrow}" if narrow else again)
    return place.ok(name, via)


def _bare(link: Link | None) -> list[str]:
    """Its addresses without their lengths."""
    return [text.partition("/")[0] for text in link.addresses] if link is not None else []


def neighbour(place: Place, facts: Facts, pod: Pod, *, beside: Link | None = None) -> Hop:
    """The MAC of the gateway, or of the pod beside it, as the pod knows it."""
    name, direct = "neighbour in the pod", pod.way is not None and not pod.way.via
    owner = beside if direct and beside is not None else facts.bridge
    right = owner.mac if owner is not None else ""
    return known(place, name, pod.neighbour, right, (pod.enter, pod.way.link if pod.way else ""))


def known(place: Place, name: str, row: Neighbour | None, right: str, at: tuple[str, str]) -> Hop:
    """A row of a neighbour table that is learned, not ours; ``at`` are the command before ip(8) and the link."""
    enter, link = at
    before = f"{enter} " if enter else ""
    if row is None:
        return place.ok(name, "not asked for yet")
    seen = f"{row.address} {row.mac or '?'} {row.state}"
    if row.mac and right and row.mac != right:
        why = f"{row.address} has MAC {row.mac} there, but {right} is right"
        if row.state != "PERMANENT":
            why += "; if it comes back, another interface has that address, too"
        return place.broken(name, seen, why, f"{before}ip neigh del {row.address} dev {link}")
    if row.state in ("FAILED", "INCOMPLETE"):
        why = f"{row.address} does not answer on {link}"
        return place.broken(name, seen, why, f"{before}ip neigh show dev {link}")
    return place.ok(name, seen)


def rules(place: Place, name: str, taken: list[Taken], *, enter: str = "") -> Hop:
    """Firewall rules: one that surely takes it is named first. ``enter``: the command before each, for a pod's own."""
    sure = next((it for it in taken if it.sure), None)
    if sure is not None:
        return place.broken(name, sure.said, sure.said, _inside(enter, sure.mend))
    if taken:
        look = _inside(enter, taken[0].look or taken[0].mend)
        return place.maybe(name, taken[0].said, taken[0].said, look)
    return place.ok(name, "none drops it")


def _inside(enter: str, commands: str) -> str:
    return "; ".join(f"{enter} {it}" for it in commands.split("; ")) if enter else commands


def bridge(place: Place, facts: Facts) -> Hop:
    """Ours: up, with the pods' gateway, large enough."""
    name, link = "bridge", facts.bridge
    if link is None:
        return place.broken(name, "gone", "the bridge is gone", RESTART)
    if not link.up:
        why = f"bridge {link.name} is down"
        return place.broken(name, "down", why, f"ip link set {link.name} up")
    if facts.gateway and facts.gateway not in link.addresses:
        why = f"bridge {link.name} has lost the pods' gateway {facts.gateway}"
        seen = " ".join(link.addresses) or "no address"
        return place.broken(name, seen, why, f"ip address add {facts.gateway} dev {link.name}")
    if facts.mtu and link.mtu < facts.mtu:
        why = f"MTU {link.mtu} of bridge {link.name} is less than the pods' {facts.mtu}"
        return place.broken(name, str(link.mtu), why, f"ip link set {link.name} mtu {facts.mtu}")
    return place.ok(name, f"{link.name} up {facts.gateway} mtu {link.mtu}")


def _outside(facts: Facts, place: Place) -> Iterator[Hop]:
    yield from _port(place, facts)
    yield rules(place, "rules of the bridge", facts.bridge_out)
    yield bridge(place, facts)


def _port(place: Place, facts: Facts) -> Iterator[Hop]:
    """The host's end of the veth."""
    pod, link = facts.pod, facts.veth
    if pod is None or not pod.host_link:
        return  # another plugin made it
    if link is None:
        why = f"the host's end {pod.host_link} of the pod is gone: start the pod anew"
        yield place.broken("veth", "gone", why, "overlayctl ipam show")
        return
    if link.name != pod.host_link:
        why = f"the host's end of the pod is named {link.name}, not {pod.host_link}"
        mend = f"ip link set {link.name} name {pod.host_link}"
        yield place.broken("veth", link.name, why, mend)
    elif not link.up:
        why = f"the host's end {link.name} of the pod is down"
        yield place.broken("veth", "down", why, f"ip link set {link.name} up")
    elif pod.given_mtu and link.mtu < pod.given_mtu:
        why = f"MTU {link.mtu} of the host's end {link.name} is less than the pod's {pod.given_mtu}"
        mend = f"ip link set {link.name} mtu {pod.given_mtu}"
        yield place.broken("veth", str(link.mtu), why, mend)
    elif not link.carrier:
        why = f"the host's end {link.name} has no carrier: the pod's end is down"
        mend = f"{pod.enter} ip link set {pod.ifname} up"
        yield place.broken("veth", "no carrier", why, mend)
    else:
        yield place.ok("veth", f"{link.name} up mtu {link.mtu}")
    wanted = pod.bridge or (facts.bridge.name if facts.bridge else "")
    if wanted and link.master != wanted:
        where = f"in {link.master}" if link.master else "in no bridge"
        why = f"the host's end {link.name} is {where}, not in {wanted}"
        yield place.broken("bridge port", where, why, f"ip link set {link.name} master {wanted}")
    else:
        yield place.ok("bridge port", f"of {link.master or wanted}")


def _known_to_bridge(place: Place, facts: Facts, link: Link) -> Hop:
    name = facts.bridge.name if facts.bridge else "the bridge"
    return known(place, "neighbour of the pod", facts.pod_neighbour, link.mac, ("", name))


def within(subnet: str, text: str) -> bool:
    """Whether an address lies in a subnet; False for what is neither."""
    try:
        return ipaddress.ip_address(text) in ipaddress.ip_network(subnet)
    except ValueError:
        return False
