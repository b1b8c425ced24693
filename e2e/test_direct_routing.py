"""DirectRouting between whole nodes, dual stack: two on one link, one behind a router; and what changes under them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pinger import Pings
from e2e.pods import Pod
from e2e.segments import node_behind, second_link, watching
from overlay.family import Family

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG_KEY = "/coreos.com/network/config"
DIRECT = (
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48",'
    '"Backend":{"Type":"vxlan","DirectRouting":true}}'
)
NEAR, FAR = "eth0 eth0", "overlay.1 overlay-v6.1"


@dataclass(frozen=True, slots=True)
class Three:
    """Nodes one and two share a link, three is behind the router; a pod on each."""

    lab: Lab
    nodes: tuple[Node, Node, Node]
    pods: tuple[Pod, Pod, Pod]


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    """All ready; each case but the last leaves them as it found them."""
    with Lab(families=tuple(Family)) as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, DIRECT)
        second_link(lab)
        nodes = (lab.add_node("n1"), lab.add_node("n2"), node_behind(lab, "n3", 3))
        for node in nodes:
            node.configure(checksum_test=False)  # its packets would be counted
        lab.start_nodes(*nodes)
        one, two, far = (lab.add_pod(node) for node in nodes)
        yield Three(lab, nodes, (one, two, far))


def rp_filter(node: Node, **values: int) -> None:
    """Set it for links of a node."""
    words = [f"net.ipv4.conf.{link}.rp_filter={value}" for link, value in values.items()]
    node.namespace.must("sysctl", "-qw", *words)


def way(here: Node, there: Node) -> str:
    """Which devices the kernel would send pods' packets by, IPv4 first."""
    rows = [here.routes_to(str(subnet)) for subnet in there.subnets]
    return " ".join(str(row["dev"]) for found in rows for row in found)


def test_who_is_on_link_is_reached_directly_and_the_others_by_tunnel(three: Three) -> None:
    """Plain IP with the pods' own addresses on the cable, nothing else; a restart changes nothing."""
    (one, two, far), (here, there, away) = three.nodes, three.pods
    fabric = three.lab.fabric

    assert (way(one, two), way(two, one)) == (NEAR, NEAR)
    assert (way(one, far), way(far, one)) == (FAR, FAR)
    with watching(fabric, "port1") as seen:
        for address in there.addresses:
            full = here.filling(Family.of(address))
            assert here.ping(address, wait_s=5).ok
            assert here.ping(address, payload=full, whole=True, wait_s=5).ok
    assert (seen.plain, seen.tunnelled) == (8, 0)
    assert seen.sources == {
        *map(str, (*here.addresses, *there.addresses))
    }  # nothing was masqueraded
    with watching(fabric, "port1") as seen:
        for address in away.addresses:
            full = here.filling(Family.of(address))
            assert here.ping(address, payload=full, whole=True, wait_s=5).ok
    assert (seen.plain, seen.tunnelled) == (0, 4)
    assert here.mtu == 1430  # some peer goes by tunnel
    assert {row["node"]: row["way"] for row in one.ask("peers")} == {
        "n2": "direct by eth0",
        "n3": "tunnel",
    }

    one.kill_agent()
    rp_filter(one, all=1, eth0=0)
    assert here.ping(there.address, wait_s=5).ok  # strict, but both ways are the same
    one.start_agent()
    one.wait_ready()
    assert one.status()["changes"] == 0
    assert one.overlayctl("plan").out.strip() == "0 changes"
    assert "rp_filter of eth0 is 1 (strict)" in str(one.status()["notices"])
    rp_filter(one, all=0)


def test_a_way_that_changes_loses_no_ping(three: Three) -> None:
    """Direct, tunnel, direct, by routes of others and on one side only: so each packet's answer goes another way.

    The hosts are strict about that, but for the underlay, as docs/direct-routing.md has it; our device is our own.
    """
    (one, two, _), pods = three.nodes, three.pods
    mended = one.status()["mended"]
    for node in (one, two):
        rp_filter(node, all=1, eth0=2)
    pings = Pings(three.lab)
    pings.between(pods)
    pings.between(
        [replace(pod, name=f"{pod.name}six", addresses=pod.addresses[1:]) for pod in pods]
    )

    with pings.window() as window:
        routes = [f"{two.address}/32 via 192.168.50.254", "fd50::2/128 via fd50::fe"]
        one.namespace.ip(*(f"route add {route}" for route in routes))
        wait_for(lambda: way(one, two) == FAR, "by tunnel", timeout_s=20)
        assert way(two, one) == NEAR
        one.namespace.ip(*(f"route del {route}" for route in routes))
        wait_for(lambda: way(one, two) == NEAR, "direct again", timeout_s=20)
    assert (window.lost, window.gaps) == (0, {})
    assert one.status()["mended"] == mended  # our own doing, no drift


def test_a_flapped_interface_has_its_direct_routes_back_within_a_second(three: Three) -> None:
    """The kernel drops them without a word; the default route stays lost, nobody else being there to mend it."""
    one, two, _ = three.nodes
    here, there, _ = three.pods
    space = one.namespace

    def back_by_ipv4() -> bool:
        return way(one, two).startswith("eth0")

    space.ip("link set eth0 down", "link set eth0 up")  # too fast to be seen down
    wait_for(back_by_ipv4, "the route is back, long before the next resync", timeout_s=20)
    assert here.ping(there.address, wait_s=5).ok
    space.ip("link set eth0 down")
    wait_for(lambda: way(one, two) == FAR, "down: by tunnel", timeout_s=20)
    space.ip("link set eth0 up")
    took = wait_for(back_by_ipv4, "the route is back", timeout_s=20)
    assert here.ping(there.address, wait_s=5).ok
    print(f"back {took:.2f} s after the interface was up")
    space.ip("addr add fd50::1/64 dev eth0 nodad")  # IPv6 loses its address as well
    wait_for(lambda: way(one, two) == NEAR, "IPv6 is back", timeout_s=20)
    wait_for(lambda: here.ping(there.addresses[1]).ok, "traffic", timeout_s=20)
    for router in ("192.168.50.254", "fd50::fe"):
        space.ip(f"route add default via {router}")


SECOND_LINK = ("192.168.60.3/24", "192.168.60.254"), ("fd60::3/64", "fd60::fe")
FIRST_LINK = ("192.168.50.33/24", "192.168.50.254"), ("fd50::33/64", "fd50::fe")
"""Where node three is: its address and router in each family."""


def test_a_node_that_moves_to_our_link_and_away_again_is_followed_while_packets_flow(
    three: Three,
) -> None:
    """Its record is written anew with its new address; all change their way, and once they have no packet is lost."""
    one, two, far = three.nodes
    here, _, away = three.pods
    pings = Pings(three.lab)
    pings.between([here, away])
    moves = (
        ("underlay0", SECOND_LINK, FIRST_LINK, NEAR),
        ("underlay1", FIRST_LINK, SECOND_LINK, FAR),
    )
    for bridge, old, new, due in moves:
        three.lab.fabric.ip(f"link set far3 master {bridge}")
        for (was, _), (now, router) in zip(old, new, strict=True):
            far.namespace.ip(
                f"addr add {now} dev eth0{' nodad' if ':' in now else ''}",
                f"addr del {was} dev eth0",
                f"route replace default via {router}",
            )
        wait_for(
            lambda it=due: {way(one, far), way(far, one), way(two, far)} == {it},  # type: ignore[misc]
            f"node three by {due}",
            timeout_s=40,
        )
        wait_for(lambda: here.ping(away.address, count=3).ok, "answers", timeout_s=20)
        assert all(here.ping(address, wait_s=5).ok for address in away.addresses)
        with pings.window() as window:
            assert here.ping(away.addresses[1], count=10).ok
        assert (window.lost, window.gaps) == (0, {})
