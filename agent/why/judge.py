"""The whole path, hop by hop in the order of the packet, from both nodes' facts and etcd's records. Pure.

A cause stands before its consequences: the record before the routes that follow from it, a device before the routes
that go with it. So the first broken hop is the one to mend.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from agent.why import ends, records, ways
from agent.why.commands import harmless
from agent.why.facts import Answered, Facts, Link
from agent.why.hop import BROKEN, OK, UNKNOWN, Hop, Place
from agent.why.records import Store
from agent.why.underlay import overhead
from agent.why.verdicts import UNREAD

_CAUSES = (
    "rules of forwarding",
    "rules of the tunnel",
    "rules of the bridge",
    "rules in the pod",
    "underlay route",
    "underlay neighbour",
)
"""What may be harmless, and is the first suspect once packets are lost."""
LEAST_MTU = 1280
"""RFC 8200; below it no link is what lets so little through, and IPv6 would be switched off with such an MTU."""


@dataclass(frozen=True, slots=True)
class End:
    """A pod as it was asked for, and its address; ``node`` and ``facts`` as far as they are known, else ``fault``."""

    spec: str
    address: str
    node: str = ""
    facts: Facts | None = None
    fault: str = ""
    look: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``first`` is the hop to look at: the first broken one, or the first unknown one; None: all is well."""

    hops: list[Hop]
    first: Hop | None

    @property
    def broken(self) -> bool:
        """Something surely stops it."""
        return any(hop.state == BROKEN for hop in self.hops)


def judge(a: End, b: End, store: Store, *, same_node: bool, proto: str = "icmp") -> Verdict:
    """Never raises, whatever the facts are."""
    if a.address == b.address:
        hops = list(_itself(a))
    elif same_node:
        hops = list(_on_one_node(a, b))
    else:
        hops = list(_across(a, b, store))
    hops = [_blind(hop, a.facts, b.facts) for hop in hops]
    hops += _agents(a, b)
    test = a.facts.test if a.facts is not None else None
    tests = list(_tested(a, b, test))
    if test is not None and test.small and test.full and all(it.state == OK for it in tests):
        hops = [_passed(hop, rules=proto != "udp") for hop in hops]
    hops = [replace(hop, mend=harmless(hop.mend)) for hop in (*hops, *tests)]
    first = next((hop for hop in hops if hop.state == BROKEN), None)
    if first in tests:  # only its effect is certain: a rule that may be the cause stands before it
        doubted = (hop for hop in hops if hop.maybe and hop.state == UNKNOWN)
        first = next((hop for hop in doubted if hop.name.endswith(_CAUSES)), first)
    return Verdict(hops, first or next((hop for hop in hops if hop.state == UNKNOWN), None))


def _blind(hop: Hop, *told: Facts | None) -> Hop:
    """Rules that could not be read are not known to be right."""
    if not hop.name.removeprefix("back: ").startswith("rules") or hop.state != OK:
        return hop
    for facts in told:
        unread = (
            (it for it in facts.unread if it.startswith(UNREAD)) if facts is not None else iter(())
        )
        if facts is not None and facts.node == hop.where and (why := next(unread, "")):
            return replace(
                hop, state=UNKNOWN, seen="", why=why, mend="nft list ruleset", maybe=True
            )
    return hop


def _passed(hop: Hop, *, rules: bool) -> Hop:
    """What may have stopped it did not; ``rules``: the test was one of rules, too (none of UDP is sent)."""
    if not hop.maybe or (not rules and "rules" in hop.name):
        return hop
    return replace(hop, state=OK, seen=f"{hop.seen} (the test came through)", why="", mend="")


def _itself(a: End) -> Iterator[Hop]:
    if a.facts is None:
        yield _silent(a)
        return
    place, pod = Place(a.facts.node), a.facts.pod
    yield from ends.attachment(a.facts, a.spec)
    if pod is None or pod.link is None:
        return
    yield ends.address(place, pod, pod.link)
    yield ends.route(place, a.facts, pod, a.address)
    yield ends.rules(place, "rules in the pod", [*pod.leaving, *pod.entering], enter=pod.enter)


def _on_one_node(a: End, b: End) -> Iterator[Hop]:
    """By the bridge alone; what br_netfilter shows to the forward chains as well."""
    if a.facts is None:
        yield _silent(a)
        return
    yield from ends.source(a.facts, a.spec, b.address, beside=_link(b))
    if b.facts is None:
        yield _silent(b)
        return
    frames = any(k.startswith("net/bridge/") and v != "0" for k, v in a.facts.switches.items())
    if frames:
        yield ends.rules(Place(a.facts.node), "rules of forwarding", a.facts.forward_out)
    yield from ends.target(b.facts, b.spec)
    yield from _pod_back(b, a)


def _across(a: End, b: End, store: Store) -> Iterator[Hop]:
    if a.facts is None:
        yield _silent(a)
    else:
        yield from ends.source(a.facts, a.spec, b.address)
    yield from records.of_peer(store.far, store, b.address)
    if a.facts is not None:
        yield from ways.leaving(a.facts, store.far, store)
    if b.facts is None:
        yield _silent(b)
    else:
        if not b.facts.agent:
            yield Place(b.facts.node).ok("agent", "answers")
        yield from records.against_device(store.far, b.facts, store, back=False)
        yield from ways.arriving(b.facts, store, b.address)
        yield from ends.target(b.facts, b.spec)
        yield from _pod_back(b, a)
    yield from records.of_peer(store.near, store, a.address, back=True)
    if b.facts is not None:
        yield from ways.leaving(b.facts, store.near, store, back=True)
    if a.facts is not None:
        yield from records.against_device(store.near, a.facts, store, back=True)
        yield from ways.arriving(a.facts, store, a.address, back=True)
        yield from _entering(a)


def _agents(*both: End) -> Iterator[Hop]:
    """Facts that were collected beside an agent that does not answer: traffic goes on, but nothing is repaired."""
    for facts in {end.facts.node: end.facts for end in both if end.facts is not None}.values():
        if facts.agent:
            why = f"the agent of {facts.node} does not answer, nothing is repaired there: {facts.agent}"
            yield Place(facts.node).broken("agent", "silent", why, ends.RESTART)


def _entering(a: End) -> Iterator[Hop]:
    if a.facts is None:
        return
    place, pod = Place(a.facts.node, back=True), a.facts.pod
    yield ends.rules(place, "rules of the bridge", a.facts.bridge_in)
    if pod is not None and pod.link is not None:
        name = a.facts.bridge.name if a.facts.bridge is not None else ""
        row = a.facts.pod_neighbour
        yield ends.known(place, "neighbour of the pod", row, pod.link.mac, ("", name))
        yield ends.rules(place, "rules in the pod", pod.entering, enter=pod.enter)


def _pod_back(b: End, a: End) -> Iterator[Hop]:
    """What the answering pod needs to answer."""
    facts = b.facts
    if facts is None or facts.pod is None or facts.pod.link is None:
        return
    place = Place(facts.node, back=True)
    yield ends.route(place, facts, facts.pod, a.address)
    yield ends.rules(place, "rules in the pod", facts.pod.leaving, enter=facts.pod.enter)
    yield ends.rules(place, "rules of the bridge", facts.bridge_out)
    beside = _link(a) if a.facts is not None and a.facts.subnets == facts.subnets else None
    yield ends.neighbour(place, facts, facts.pod, beside=beside)


def _link(end: End) -> Link | None:
    """Of the pod."""
    return end.facts.pod.link if end.facts is not None and end.facts.pod is not None else None


def _silent(end: End) -> Hop:
    """A node that tells nothing."""
    where = end.node or "the other node"
    why = end.fault or f"nobody knows which node has {end.spec}"
    if not end.node:
        return Place(where).unknown("agent", why, end.look)
    return Place(where).broken("agent", "silent", why, ends.RESTART)


def _tested(a: End, b: End, test: Answered | None) -> Iterator[Hop]:
    """Real packets."""
    where = a.facts.node if a.facts is not None else ""
    place = Place(where)
    if test is None:
        return
    look = f"overlayctl trace {a.spec}; overlayctl probe"
    if not test.small:
        why = f"an echo of {test.small_size} bytes to {b.address} was not answered ({test.why})"
        yield place.broken("echo", "lost", why, look)
    else:
        yield place.ok("echo", f"{test.small_size} bytes, {test.rtt_ms:g} ms")
    if test.small and not test.full:
        why = (
            f"MTU black hole: {test.small_size} bytes pass, {test.full_size} do not; "
            f"the largest that fits is {test.largest}"
        )
        carrier = a.facts.tunnel_link if a.facts is not None else None
        mend = look
        if carrier is not None and a.facts is not None and test.largest >= LEAST_MTU:
            mend = f"ip link set {carrier.name} mtu {test.largest + overhead(a.facts)}"
        yield place.broken("echo, full size", f"{test.full_size} bytes lost", why, mend)
    elif test.small:
        yield place.ok("echo, full size", f"{test.full_size} bytes, not fragmented")
    if test.port:
        yield _connection(place, b, test.port, look)


def _connection(place: Place, b: End, said: str, look: str) -> Hop:
    if said == "connected":
        return place.ok("TCP connection", said)
    if said == "refused":
        why = f"{b.address} refuses the connection: nothing listens on that port there"
        pod = b.facts.pod if b.facts is not None else None
        inside = f"{pod.enter} ss -ltn" if pod is not None and pod.enter else ""
        return place.broken("TCP connection", said, why, inside)
    why = f"the TCP connection to {b.address} failed: {said}"
    return place.broken("TCP connection", said, why, look)
