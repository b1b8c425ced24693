"""Judging what lies between two nodes' bridges, from one node's facts: leaving it, and arriving. Pure."""

from collections.abc import Iterator

from agent.why.ends import RESTART, bridge, rules, within
from agent.why.facts import Facts, Way
from agent.why.hop import Hop, Place
from agent.why.records import Net, Record, Store
from agent.why.underlay import (
    overhead,
    specific,
    underlay_link,
    underlay_neighbour,
    underlay_route,
)

HOST_UNREACHABLE, CROSS_DEVICE = 113, 18
"""EHOSTUNREACH: forwarding is off, or no route; EXDEV: rp_filter refuses the source."""


def leaving(
    facts: Facts, peer: Record | None, store: Store, *, back: bool = False
) -> Iterator[Hop]:
    """To the other node."""
    place = Place(facts.node, back)
    tunnelled = _tunnelled(facts, store.net)
    if not back:  # or else they were judged when the packet arrived
        yield forwarding(place, facts)
        if tunnelled:
            yield device(place, facts, store.net)
    yield route(place, facts, peer, store.net, tunnelled)
    if tunnelled and facts.out is not None and facts.out.link == facts.vxlan_name:
        yield vtep_neighbour(place, facts, peer)
        yield fdb(place, facts, peer)
    if not back:
        yield underlay_link(place, facts, tunnelled)
    yield underlay_route(place, facts)
    yield underlay_neighbour(place, facts)
    yield rules(place, "rules of forwarding", facts.forward_out)
    if tunnelled:
        yield rules(place, "rules of the tunnel", facts.tunnel_out)


def arriving(facts: Facts, store: Store, to: str, *, back: bool = False) -> Iterator[Hop]:
    """From the other node."""
    place = Place(facts.node, back)
    tunnelled = _tunnelled(facts, store.net)
    if not back:
        if tunnelled:
            yield device(place, facts, store.net)
        yield underlay_link(place, facts, tunnelled)
        yield forwarding(place, facts)
    if tunnelled:
        yield rules(place, "rules of the tunnel", facts.tunnel_in)
    if not back:
        yield bridge(place, facts)
    yield route_to_pod(place, facts, to)
    yield rules(place, "rules of forwarding", facts.forward_in)


def _tunnelled(facts: Facts, net: Net | None) -> bool:
    """By the tunnel, unless the kernel's route leads to the underlay and the network allows that, or is not known."""
    if net is not None and not net.tunnels:
        return False
    device = facts.vxlan.name if facts.vxlan is not None else ""
    out = facts.out.link if facts.out is not None and facts.out.link != device else ""
    ours = any(one.ours and one.link == out for one in specific(facts.out))
    if net is None:
        return not ours
    return not (ours and device and net.direct)


def forwarding(place: Place, facts: Facts) -> Hop:
    """The switches without which a node passes nothing on."""
    name = "forwarding"
    for path, value in facts.switches.items():
        if path.endswith(("ip_forward", "/forwarding")) and value == "0":
            dotted = path.replace("/", ".")
            why = f"{dotted} is 0: the node forwards nothing"
            return place.broken(name, f"{dotted}=0", why, f"sysctl -w {dotted}=1")
    if not facts.switches:
        return place.unknown(name, "the switches could not be read", "sysctl net.ipv4.ip_forward")
    frames = next((v for k, v in facts.switches.items() if "bridge-nf-call" in k), "")
    return place.ok(name, "on" + (f", br_netfilter {frames}" if frames else ""))


def device(place: Place, facts: Facts, net: Net | None) -> Hop:
    """Our VTEP."""
    name, link = "VXLAN device", facts.vxlan
    if link is None:
        why = f"VXLAN device {facts.vxlan_name} is gone"
        return place.broken(name, "gone", why, RESTART)
    seen = f"{link.name} vni {link.vni} port {link.port} local {link.local} mtu {link.mtu}"
    if not link.up:
        why = f"VXLAN device {link.name} is down"
        return place.broken(name, f"{seen} down", why, f"ip link set {link.name} up")
    anew = f"ip link del {link.name}; {RESTART}"
    if net is not None and link.vni != net.vni:
        why = f"{link.name} has VNI {link.vni}, the network has {net.vni}"
        return place.broken(name, seen, why, anew)
    if net is not None and link.port != net.port:
        why = f"{link.name} uses UDP port {link.port}, the network has {net.port}"
        return place.broken(name, seen, why, anew)
    if facts.mtu and link.mtu < facts.mtu:
        why = f"MTU {link.mtu} of {link.name} is less than the pods' {facts.mtu}"
        mend, below, needed = "", facts.tunnel_link, facts.mtu + overhead(facts)
        if below is not None and below.mtu < needed:  # the kernel refuses more than that one holds
            mend = f"ip link set {below.name} mtu {needed}; "
        return place.broken(name, seen, why, f"{mend}ip link set {link.name} mtu {facts.mtu}")
    return place.ok(name, seen)


def route(place: Place, facts: Facts, peer: Record | None, net: Net | None, tunnelled: bool) -> Hop:
    """As the kernel decides, policy rules and all tables included."""
    name, way = "route", facts.out
    if way is None:
        return place.unknown(name, "it could not be read", "ip route")
    said = way.error or f"{way.kind} {f'via {way.via} ' if way.via else ''}dev {way.link}".strip()
    wanted = facts.vxlan_name if tunnelled else ""
    leads = not way.error and way.kind == "unicast"
    if leads and (way.link == wanted if wanted else _is_direct(way, peer)):
        return place.ok(name, said)
    return place.broken(name, said, *_astray(facts, peer, net, wanted))


def _is_direct(way: Way, peer: Record | None) -> bool:
    return peer is None or not peer.underlay or way.via == peer.underlay


def _astray(facts: Facts, peer: Record | None, net: Net | None, wanted: str) -> tuple[str, str]:
    """Why, and the command."""
    way, protocol = facts.out or Way(""), (net or Net()).protocol
    flag = "-6 " if ":" in way.to else ""
    good = [it for it in specific(way) if it.kind == "unicast" and it.ours and it.link == wanted]
    if way.code == CROSS_DEVICE:
        link = facts.bridge.name if facts.bridge else "all"
        why = f"rp_filter of {link} refuses packets from the pod"
        return why, f"sysctl -w net.ipv4.conf.{link}.rp_filter=2"
    foreign = [
        it for it in specific(way) if it not in good and it.undo and not (it.ours and not way.error)
    ]
    astray = next((it for it in foreign if it.kind != "unicast" or it.link == way.link), None)
    if astray is not None and (good or astray.prefix > _length(peer) or astray.table != 254):
        effect = f"leads to {astray.link}" if astray.kind == "unicast" else "throws it away"
        return f"{astray.what} {effect}, before ours", astray.undo
    says = f"the node has no route to {way.to}: {way.error}" if way.error else ""
    if not says:
        says = f"the route to {way.to} leads {f'via {way.via} ' if way.via else ''}dev {way.link}"
    if peer is None:
        return says, f"ip {flag}route get {way.to}"
    if wanted:
        via = peer.subnet.partition("/")[0]
        mend = (
            f"ip {flag}route replace {peer.subnet} via {via} dev {wanted} onlink proto {protocol}"
        )
        return f"{says}, it has to lead via {via} dev {wanted}", mend
    mend = f"ip {flag}route replace {peer.subnet} via {peer.underlay} proto {protocol}"
    return f"{says}, it has to lead via {peer.underlay}", mend


def _length(peer: Record | None) -> int:
    try:
        return int(peer.subnet.partition("/")[2]) if peer is not None else 0
    except ValueError:
        return 0


def vtep_neighbour(place: Place, facts: Facts, peer: Record | None) -> Hop:
    """The inner MAC of the other node's VTEP."""
    name, row, way = "neighbour", facts.neighbour, facts.out
    via = way.via if way is not None else ""
    link = facts.vxlan_name
    if peer is None or not peer.mac:
        seen = f"{row.address} {row.mac} {row.state}" if row else "none"
        if row is not None and row.mac:
            return place.ok(name, seen)
        return place.broken(name, seen, f"no MAC is known for {via} on {link}", RESTART)
    mend = f"ip neigh replace {via} lladdr {peer.mac} dev {link} nud permanent"
    if row is None or not row.mac:
        why = f"the neighbour {via} of {link} is missing"
        return place.broken(name, row.state if row else "none", why, mend)
    seen = f"{row.address} {row.mac} {row.state}"
    if row.mac != peer.mac:
        why = f"neighbour {via} of {link} has MAC {row.mac}, etcd says {peer.mac}"
        return place.broken(name, seen, why, mend)
    return place.ok(name, seen)


def fdb(place: Place, facts: Facts, peer: Record | None) -> Hop:
    """The underlay address behind that MAC."""
    name, link = "fdb", facts.vxlan_name
    mac = facts.neighbour.mac if facts.neighbour is not None else (peer.mac if peer else "")
    found = facts.fdb or []
    seen = f"{mac} dst {' '.join(found) or 'none'}"
    underlay = peer.underlay if peer is not None else ""
    mend = f"bridge fdb replace {mac} dev {link} dst {underlay} self permanent"
    if not found:
        why = f"the FDB of {link} has no entry for {mac}"
        return place.broken(name, seen, why, mend if underlay and mac else RESTART)
    if underlay and found != [underlay]:
        why = f"the FDB of {link} sends {mac} to {' '.join(found)}, etcd says {underlay}"
        return place.broken(name, seen, why, mend)
    return place.ok(name, seen)


def route_to_pod(place: Place, facts: Facts, to: str) -> Hop:
    """Of what arrives: to the bridge, and not refused for where it comes from."""
    name, way = "route to the pod", facts.into
    if way is None:
        return place.unknown(name, "it could not be read", f"ip route get {to}")
    bridge = facts.bridge.name if facts.bridge is not None else ""
    said = way.error or f"{way.kind} dev {way.link}"
    if not way.error and way.kind == "unicast" and bridge and way.link == bridge:
        return place.ok(name, said)
    if way.kind == "local" and not way.error:
        why = f"{to} is an address of the node itself, not of a pod"
        return place.broken(name, said, why, "overlayctl ipam show")
    flag = "-6 " if ":" in way.to else ""
    if way.code == CROSS_DEVICE:
        link = facts.vxlan.name if facts.vxlan is not None else "all"
        why = f"rp_filter of {link} refuses packets from there"
        return place.broken(name, said, why, f"sysctl -w net.ipv4.conf.{link}.rp_filter=2")
    astray = next(
        (it for it in specific(way) if it.undo and (it.kind != "unicast" or it.link != bridge)),
        None,
    )
    if astray is not None:
        return place.broken(name, said, f"{astray.what} takes it, before the bridge", astray.undo)
    why = f"what arrives for {to} does not go to bridge {bridge}: {said}"
    subnet = next((it for it in facts.subnets if within(it, to)), "")
    gateway = facts.gateway.partition("/")[0]
    mend = f"ip {flag}route replace {subnet} dev {bridge} src {gateway}" if subnet else RESTART
    return place.broken(name, said, why, mend)
