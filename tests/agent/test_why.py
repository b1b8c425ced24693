"""The judgement of a path: the first broken hop is the cause, its command the right one, and no facts make it fail."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.why.facts import Candidate, Facts, Link, Neighbour, Taken, Way
from agent.why.hop import OK
from agent.why.judge import Verdict, judge
from agent.why.records import Store
from tests.agent.why_facts import end, facts, passed, record, store

change = msgspec.structs.replace


def verdict(
    near: Facts | None = None, far: Facts | None = None, known: Store | None = None
) -> Verdict:
    """Of the path from node 1 to node 2, healthy where nothing is given."""
    a, b = end(1, near or facts(1, 2)), end(2, far or facts(2, 1))
    return judge(a, b, known or store(), same_node=False)


def first(told: Verdict) -> tuple[str, str, str]:
    """Where, which hop, and the command."""
    assert told.first is not None
    return told.first.where, told.first.name, told.first.mend


def pod(number: int, other: int, **more: Any) -> Facts:  # noqa: ANN401
    """Facts with something else about the pod."""
    healthy = facts(number, other)
    assert healthy.pod is not None
    return change(healthy, pod=change(healthy.pod, **more))


def link(whole: Facts, which: str, /, **more: Any) -> Facts:  # noqa: ANN401
    """Facts with something else about one of their links."""
    found: Link = getattr(whole, which)
    return change(whole, **{which: change(found, **more)})


def test_a_healthy_path_is_right_hop_by_hop() -> None:
    """With and without a test; both nodes and etcd have their say."""
    told = verdict()
    assert told.first is None
    assert {hop.state for hop in told.hops} == {OK}
    assert {hop.where for hop in told.hops} == {"n1", "n2", "etcd"}
    tested = verdict(facts(1, 2, test=passed()))
    assert [hop.name for hop in tested.hops][-2:] == ["echo", "echo, full size"]
    assert tested.first is None


ENTER = "nsenter --net=/run/netns/pod1"
NEAR = {
    "no such pod": (facts(1, 2, pod=None), "attachment", "overlayctl ipam show"),
    "dead pod": (pod(1, 2, fault="its network namespace is gone"), "attachment", "overlayctl gc"),
    "veth gone": (facts(1, 2, veth=None), "veth", "overlayctl ipam show"),
    "veth renamed": (link(facts(1, 2), "veth", name="x"), "veth", "ip link set x name ovl1"),
    "veth elsewhere": (
        link(facts(1, 2), "veth", master="docker0"),
        "bridge port",
        "ip link set ovl1 master overlay0",
    ),
    "bridge gone": (facts(1, 2, bridge=None), "bridge", "systemctl restart overlay-agent"),
    "bridge MTU": (
        link(facts(1, 2), "bridge", mtu=1400),
        "bridge",
        "ip link set overlay0 mtu 1450",
    ),
    "device gone": (facts(1, 2, vxlan=None), "VXLAN device", "systemctl restart overlay-agent"),
    "another VNI": (
        link(facts(1, 2), "vxlan", vni=7),
        "VXLAN device",
        "ip link del overlay.1; systemctl restart overlay-agent",
    ),
    "device MTU": (
        link(facts(1, 2), "vxlan", mtu=1300),
        "VXLAN device",
        "ip link set overlay.1 mtu 1450",
    ),
    "no neighbour": (
        facts(1, 2, neighbour=None),
        "neighbour",
        "ip neigh replace 10.5.2.0 lladdr 02:00:00:00:00:02 dev overlay.1 nud permanent",
    ),
    "no FDB entry": (
        facts(1, 2, fdb=[]),
        "fdb",
        "bridge fdb replace 02:00:00:00:00:02 dev overlay.1 dst 192.168.50.2 self permanent",
    ),
    "underlay MTU": (
        link(facts(1, 2), "tunnel_link", mtu=1450),
        "underlay link",
        "ip link set eth0 mtu 1500",
    ),
    "cable": (
        link(facts(1, 2), "tunnel_link", carrier=False),
        "underlay link",
        "ip -d link show eth0",
    ),
    "peer silent": (
        facts(1, 2, tunnel_neighbour=Neighbour("192.168.50.2", "", "FAILED")),
        "underlay neighbour",
        "ip neigh show to 192.168.50.2 dev eth0",
    ),
    "rp_filter": (
        facts(1, 2, out=Way("10.5.2.2", error="Invalid cross-device link", code=18)),
        "route",
        "sysctl -w net.ipv4.conf.overlay0.rp_filter=2",
    ),
    "no gateway known": (
        pod(1, 2, neighbour=Neighbour("10.5.1.1", "", "FAILED")),
        "neighbour in the pod",
        f"{ENTER} ip neigh show dev eth0",
    ),
    "no route in the pod": (
        pod(1, 2, way=Way("10.5.2.2", error="Network is unreachable", code=101)),
        "route in the pod",
        f"{ENTER} ip route replace default via 10.5.1.1 dev eth0",
    ),
}


@pytest.mark.parametrize("what", NEAR)
def test_the_near_node(what: str) -> None:
    """Each with the command that mends it, or shows more."""
    broken, name, mend = NEAR[what]
    assert first(verdict(broken)) == ("n1", name, mend)


def test_the_route_that_stands_before_ours_is_named_and_not_ours_deleted() -> None:
    """Another table's blackhole, a more specific route; where ours is missing it is put back."""
    ours = Candidate(
        "route 10.5.2.0/24 …", 254, 24, "unicast", "overlay.1", True, "ip route del 10.5.2.0/24"
    )
    black = Candidate(
        "route blackhole 10.5.2.0/24 table 77",
        77,
        24,
        "blackhole",
        "",
        False,
        "ip route del blackhole 10.5.2.0/24 table 77",
    )
    lost = Way("10.5.2.2", error="Invalid argument", code=22, candidates=[black, ours])
    told = verdict(facts(1, 2, out=lost))
    assert first(told) == ("n1", "route", "ip route del blackhole 10.5.2.0/24 table 77")
    assert told.first is not None
    assert "throws it away, before ours" in told.first.why

    narrow = Candidate(
        "route 10.5.2.2/32", 254, 32, "unicast", "eth0", False, "ip route del 10.5.2.2/32"
    )
    astray = Way("10.5.2.2", "eth0", "192.168.50.254", "unicast", 254, candidates=[narrow, ours])
    assert first(verdict(facts(1, 2, out=astray)))[2] == "ip route del 10.5.2.2/32"

    default = Way("10.5.2.2", "eth0", "192.168.50.254", "unicast", 254)
    mend = "ip route replace 10.5.2.0/24 via 10.5.2.0 dev overlay.1 onlink proto 158"
    assert first(verdict(facts(1, 2, out=default))) == ("n1", "route", mend)


RECORDS: dict[str, tuple[Store, str]] = {
    "none": (store(far=None), "no record in etcd has 10.5.2.2"),
    "ended": (store(far=replace(record(2), left_s=-1.0)), "the lease of 10.5.2.0-24 has ended"),
    "contradicted": (
        store(far=replace(record(2), rival="10.5.2.0-23")),
        "is contradicted by 10.5.2.0-23",
    ),
    "no MAC": (store(far=replace(record(2), mac="")), "names no VTEP MAC"),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_is_judged_before_what_follows_from_it(what: str) -> None:
    """Without it the routes are gone as well, but it is the cause."""
    known, why = RECORDS[what]
    gone = facts(1, 2, out=Way("10.5.2.2", error="No route to host", code=113), fdb=None)
    told = verdict(gone, known=known)
    assert told.first is not None
    assert (told.first.where, told.first.name) == ("etcd", "record")
    assert why in told.first.why
    assert told.first.mend_at in ("n2", "the node of 10.5.2.2")


def test_the_far_node_and_the_way_back() -> None:
    """Its device against the record, its rules, its pod; then what answers need."""
    other = link(facts(2, 1), "vxlan", mac="02:00:00:00:00:77")
    assert first(verdict(far=other))[:2] == ("etcd", "record against device")
    taken = Taken("table ip filter chain FORWARD: policy drop drops it", True, "nft delete x")
    assert first(verdict(far=facts(2, 1, forward_in=[taken]))) == (
        "n2",
        "rules of forwarding",
        "nft delete x",
    )
    astray = facts(2, 1, into=Way("10.5.2.2", "eth0", "", "unicast"))
    assert first(verdict(far=astray)) == (
        "n2",
        "route to the pod",
        "ip route replace 10.5.2.0/24 dev overlay0 src 10.5.2.1",
    )
    wrong = facts(2, 1, pod_neighbour=Neighbour("10.5.2.2", "02:00:00:00:00:09", "PERMANENT"))
    assert first(verdict(far=wrong))[2] == "ip neigh del 10.5.2.2 dev overlay0"
    back = facts(2, 1, fdb=["192.168.50.99"])
    assert first(verdict(far=back))[:2] == ("n2", "back: fdb")
    near = facts(1, 2, tunnel_in=[taken])
    assert first(verdict(near))[:2] == ("n1", "back: rules of the tunnel")
    assert first(
        judge(end(1, facts(1, 2)), end(2, None, fault="silent"), store(), same_node=False)
    ) == (
        "n2",
        "agent",
        "systemctl restart overlay-agent",
    )


def test_a_rule_that_may_drop_is_settled_by_the_test() -> None:
    """Unknown without one; right if the packets came through; to be looked at first if they did not."""
    maybe = Taken(
        "chain x: rule may be what drops it", False, "nft delete y", "nft -a list chain x"
    )
    doubtful = facts(1, 2, forward_out=[maybe])
    assert first(verdict(doubtful)) == ("n1", "rules of forwarding", "nft -a list chain x")
    assert not verdict(doubtful).broken
    assert verdict(change(doubtful, test=passed())).first is None
    lost = verdict(change(doubtful, test=passed(small=False, full=False, why="no answer")))
    assert first(lost)[:2] == ("n1", "rules of forwarding")


def test_a_black_hole_is_named_with_the_size_that_fits() -> None:
    """Small packets pass, large ones do not, though every hop is right."""
    told = verdict(facts(1, 2, test=passed(full=False, largest=1350)))
    assert told.first is not None
    assert (
        told.first.why
        == "MTU black hole: 84 bytes pass, 1450 do not; the largest that fits is 1350"
    )
    assert told.first.mend == "ip link set eth0 mtu 1400"


def test_two_pods_of_one_node_and_a_pod_itself() -> None:
    """No tunnel, no records; the neighbour is the other pod, not the gateway."""
    there = Neighbour("10.5.1.2", "0a:58:0a:05:01:02", "REACHABLE")
    beside = end(
        1,
        pod(
            1,
            1,
            way=Way("10.5.1.2", "eth0", "", "unicast"),
            neighbour=there,
        ),
    )
    other = replace(beside, address="10.5.1.3")
    told = judge(beside, other, Store(fault="etcd is away"), same_node=True)
    assert told.first is None, told.first
    assert "VXLAN device" not in [hop.name for hop in told.hops]
    itself = judge(beside, beside, Store(), same_node=True)
    assert itself.first is None


def test_while_etcd_is_away_the_near_side_is_still_judged() -> None:
    """The record is unknown, which is less than broken."""
    away = Store(fault="etcd cannot be asked", net=None)
    told = judge(
        end(1, facts(1, 2)), end(2, None, fault="etcd cannot be asked"), away, same_node=False
    )
    assert told.first is not None
    down = link(facts(1, 2), "tunnel_link", up=False)
    cause = judge(end(1, down), replace(end(2, None), node=""), away, same_node=False)
    assert first(cause) == ("n1", "underlay link", "ip link set eth0 up")
