"""What other programs, or an earlier life, may have done to a peer's entries, in iproute2's own words.

Each blow is about one peer and one family. A *foreign* one leaves something behind that is not ours: it has to
outlive the mending, and `undone` takes it away afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """A peer's entries in one family, as iproute2 spells them."""

    flag: str
    link: str
    dst: str
    via: str
    mac: str
    underlay: str
    other: str
    """Another peer's VTEP address, behind the same device."""
    far: str
    """A gateway on the underlay."""
    stale: str
    stale_dst: str
    id: str

    @staticmethod
    def of(number: int, version: int) -> "Way":
        """Node ``number``'s."""
        other = 2 + number % 4
        if version == 4:
            return Way(
                *("-4", "overlay.1", f"10.5.{number}.0/24", f"10.5.{number}.0"),
                *(f"02:00:00:00:00:{number:02x}", f"192.0.2.{number}", f"10.5.{other}.0"),
                *("192.0.2.200", f"10.5.{60 + number}.0", f"10.5.{60 + number}.0/24", f"4{number}"),
            )
        return Way(
            *("-6", "overlay-v6.1", f"fd00:5:0:{number}::/64", f"fd00:5:0:{number}::"),
            *(f"02:00:00:00:06:{number:02x}", f"2001:db8::{number}", f"fd00:5:0:{other}::"),
            *("2001:db8::200", f"fd00:5:0:{60 + number}::", f"fd00:5:0:{60 + number}::/64"),
            f"6{number}",
        )


@dataclass(frozen=True, slots=True)
class Blow:
    """Lines for `ip -batch` and `bridge -batch`; ``takes``: our route cannot be made while it is there;
    ``versions`` of IP that have such a thing."""

    lines: Sequence[str] = ()
    bridge: Sequence[str] = ()
    undone: Sequence[str] = ()
    takes: bool = False
    versions: tuple[int, ...] = (4, 6)


_ROUTE = "via {via} dev {link} onlink"
BLOWS = {
    # --- the route
    "route gone": Blow(["route del {dst} proto 158"]),
    "route by another peer": Blow(["route replace {dst} via {other} dev {link} onlink"]),
    "route of flannel's": Blow(["route replace {dst} " + _ROUTE + " proto boot"]),
    "route without a gateway": Blow(["route replace {dst} dev {link} proto 158"]),
    "route of two hops": Blow(
        [
            "route del {dst} proto 158",
            "route add {dst} proto 158 nexthop "
            + _ROUTE
            + " nexthop via {other} dev {link} onlink",
        ]
    ),
    "route of two hops, one outside": Blow(
        [
            "route del {dst} proto 158",
            "route add {dst} proto 158 nexthop via {far} dev eth0 nexthop " + _ROUTE,
        ]
    ),
    "ours with a metric": Blow(
        ["route del {dst} proto 158", "route add {dst} " + _ROUTE + " proto 158 metric 77"]
    ),
    "ours twice": Blow(["route add {dst} " + _ROUTE + " proto 158 metric 77"]),
    "ours twice, the second wrong": Blow(
        ["route add {dst} via {other} dev {link} onlink proto 158 metric 9"]
    ),
    "by hand on our device": Blow(["route add {dst} dev {link} proto static metric 50"]),
    "by hand on the underlay, ours": Blow(["route add {dst} via {far} proto 158 metric 2000"]),
    "foreign in its place": Blow(
        ["route del {dst} proto 158", "route add {dst} via {far} proto static"],
        undone=["route del {dst} via {far} proto static"],
        takes=True,
    ),
    "foreign blackhole in its place": Blow(
        ["route del {dst} proto 158", "route add blackhole {dst} proto bird"],
        undone=["route del blackhole {dst} proto bird"],
        takes=True,
    ),
    "foreign with a metric": Blow(
        ["route add {dst} via {far} proto bird metric 2048"],
        undone=["route del {dst} via {far} proto bird metric 2048"],
    ),
    "foreign in another table": Blow(
        ["route add {dst} " + _ROUTE + " proto static table 77"],
        undone=["route del {dst} proto static table 77"],
    ),
    "foreign and narrower": Blow(
        ["route add {via} via {far} proto static"], undone=["route del {via} proto static"]
    ),
    "foreign and narrower, ours gone": Blow(
        ["route add {via} via {far} proto static", "route del {dst} proto 158"],
        undone=["route del {via} proto static"],
    ),
    "ours twice, the wrong one first": Blow(
        ["route prepend {dst} via {other} dev {link} onlink proto 158"]
    ),
    "ours twice, the wrong one last": Blow(
        ["route append {dst} via {other} dev {link} onlink proto 158"]
    ),
    "wrong in two ways": Blow(
        [
            "route replace {dst} via {other} dev {link} onlink proto 158",
            "route append {dst} via {far} dev eth0 proto 158",
        ]
    ),
    "by hand on our device, for some packets": Blow(
        ["route add {dst} via {other} dev {link} onlink tos 0x10"],
        undone=["route del {dst} tos 0x10"],
        versions=(4,),
    ),
    "by hand on our device, for some sources": Blow(
        ["route add {dst} from {stale_dst} via {other} dev {link} onlink"],
        undone=["route del {dst} from {stale_dst}"],
        versions=(6,),
    ),
    # --- the neighbour
    "neighbour gone": Blow(["neigh del {via} dev {link}"]),
    "neighbour bent": Blow(["neigh replace {via} lladdr 02:00:00:00:00:ee dev {link}"]),
    "neighbour of another peer": Blow(
        ["neigh replace {other} lladdr {mac} dev {link} nud permanent"]
    ),
    "neighbour stale": Blow(["neigh replace {via} lladdr {mac} dev {link} nud stale"]),
    "neighbour reachable": Blow(["neigh replace {via} lladdr {mac} dev {link} nud reachable"]),
    "neighbour noarp": Blow(["neigh replace {via} lladdr {mac} dev {link} nud noarp"]),
    # --- the FDB entry
    "fdb gone": Blow(bridge=["fdb del {mac} dev {link}"]),
    "fdb bent": Blow(bridge=["fdb replace {mac} dev {link} dst {far} self permanent"]),
    "fdb with a port": Blow(
        bridge=["fdb replace {mac} dev {link} dst {underlay} port 4789 self permanent"]
    ),
    "fdb with a VNI": Blow(
        bridge=["fdb replace {mac} dev {link} dst {underlay} vni 9 self permanent"]
    ),
    "fdb that ages": Blow(
        bridge=["fdb del {mac} dev {link}", "fdb add {mac} dev {link} dst {underlay} self dynamic"]
    ),
    "fdb for all that is unknown": Blow(
        bridge=[
            "fdb append 00:00:00:00:00:00 dev {link} dst {underlay} self permanent",
            "fdb append 00:00:00:00:00:00 dev {link} dst {far} self permanent",
        ]
    ),
    "fdb of a next hop": Blow(
        ["nexthop add id {id} via {far} fdb", "nexthop add id 1{id} group {id} fdb"],
        ["fdb del {mac} dev {link}", "fdb add {mac} dev {link} nhid 1{id} self static"],
        undone=["nexthop del id 1{id}", "nexthop del id {id}"],
    ),
    # --- all of it
    "a stale peer": Blow(
        [
            "route add {stale_dst} via {stale} dev {link} onlink proto 158",
            "neigh add {stale} lladdr 02:00:00:00:07:{id} dev {link}",
        ],
        ["fdb add 02:00:00:00:07:{id} dev {link} dst {far} self permanent"],
    ),
    "a stale route of two hops": Blow(
        [
            "route add {stale_dst} proto 158 nexthop " + _ROUTE,
            "route append {stale_dst} proto 158 nexthop via {other} dev {link} onlink",
        ]
    ),
}
