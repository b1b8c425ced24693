"""Who is asked at which address, and what overlayctl makes of it: without sockets, without a kernel."""

import json
from dataclasses import replace
from ipaddress import ip_network

import pytest

from agent.ctl.probe import chosen, exit_code
from agent.ctl.probefar import take
from agent.ctl.probepeers import of_kernel
from agent.ctl.probewords import alike, with_mtu
from agent.probes.answer import bounded, row, target_of
from agent.probes.course import Course
from agent.probes.judge import judge
from agent.probes.result import Result, State, named, worst_first
from agent.probes.targets import Target, targets
from overlay.desired import Me, desired_node, desired_peer
from overlay.errors import BadConfig, BadInput, NotReady
from overlay.model import Backend, Family, Lease, LinkAddress, Network
from overlay.onlink import NOTHING
from tests.agent.probing import target
from tests.overlay.test_desired import POOLS, V4, V6
from tests.overlay.test_direct import DIRECT, HOST_GW, ME, PLAIN, peer

TUNNELS = Network(POOLS, Backend(vni=7))
FAR = replace(ME, connected=NOTHING)


def brief(found: list[Target]) -> list[tuple[str, str, int, int]]:
    """Where from, where to, by which port, how large."""
    return [(str(it.source), str(it.address), it.port, it.full) for it in found]


def test_the_tunnels_own_address_answers_whichever_way_packets_take() -> None:
    """Only without a tunnel it is the bridge's; what is not served is not asked."""
    vteps = [str(vtep.subnet.network_address) for vtep in (V4, V6)]
    both = [(vteps[0], "10.5.9.0", 8472, ME.pod_mtu), (vteps[1], "fd00:0:0:9::", 8472, ME.pod_mtu)]
    assert brief(targets(TUNNELS, FAR, [peer(9)])) == both
    direct = targets(DIRECT, ME, [peer(9)])
    assert brief(direct) == [(source, address, 0, full) for source, address, _, full in both]
    assert [len(it.answers_from) for it in direct] == [1, 2]
    plain = targets(HOST_GW, PLAIN, [peer(9, backend="host-gw")])
    assert brief(plain) == [
        (f"{V4.subnet.network_address + 1}", "10.5.9.1", 0, 1500),
        (f"{V6.subnet.network_address + 1}", "fd00:0:0:9::1", 0, 1500),
    ]
    old = replace(peer(9).endpoints[0], subnet=ip_network("10.99.3.0/24"))
    drained = Lease("10.99.3.0-24", (old,), node="n9", etcd_lease=1)
    for network, me in ((TUNNELS, FAR), (DIRECT, ME)):  # of an earlier config: always by tunnel
        assert brief(targets(network, me, [drained])) == [(vteps[0], "10.99.3.0", 8472, ME.pod_mtu)]
    assert targets(TUNNELS, FAR, [replace(peer(9), key="k")]) == []
    assert targets(TUNNELS, FAR, [peer(9, backend="udp")]) == []


@pytest.mark.parametrize(
    ("network", "me", "backend"),
    [(TUNNELS, FAR, "vxlan"), (DIRECT, ME, "vxlan"), (HOST_GW, PLAIN, "host-gw")],
)
def test_the_kernel_knows_the_same_targets(network: Network, me: Me, backend: str) -> None:
    """What was programmed for the peers says whom to ask; etcd only names them."""
    leases = [
        replace(peer(9, backend=backend), node="n9"),
        peer(10, "192.0.2.10", "2001:db8::10", backend),
    ]
    items = [
        *desired_node(network, me),
        *(item for lease in leases for item in desired_peer(network, me, lease)),
    ]
    held = {item.key: item for item in items}
    local = {vtep.family: vtep.local for vtep in me.vteps}
    found = of_kernel(held, leases, local_for=lambda it: local[Family.of(it)])
    wanted = targets(network, me, leases)
    assert sorted(found, key=str) == sorted(wanted, key=str)
    assert {it.node for it in of_kernel(held, [], local_for=lambda it: it)} == {""}
    no_source = {key: it for key, it in held.items() if not isinstance(it, LinkAddress)}
    assert of_kernel(no_source, leases, local_for=lambda it: it) == []


def test_a_target_survives_its_way_to_overlayctl() -> None:
    """As JSON; what cannot be read is another version's."""
    for it in targets(DIRECT, ME, [peer(9)]):
        assert target_of(json.loads(json.dumps(row(it)))) == it
    with pytest.raises(BadInput, match="of another version"):
        target_of({"key": "k"})


def test_a_peer_is_named_in_any_way_there_is() -> None:
    """A pod's address as well; what is nobody's is wrong usage."""
    known = [target(2), target(3)]
    for name in ("n2", "10.5.2.0-24", "10.5.2.0/24", "192.168.50.2", "10.5.2.77"):
        assert chosen(known, [name]) == [known[0]]
    assert chosen(known, ["n3", "n2", "10.5.3.9"]) == [known[1], known[0]]
    assert chosen(known, []) == known
    for name in ("n4", "10.5.4.1", "fd00::1"):
        with pytest.raises(BadConfig, match="no peer"):
            chosen(known, [name])


def test_the_far_side_says_which_direction_is_blocked() -> None:
    """By whose requests arrive where; an agent that does not answer is said, too."""
    answer = {"results": [{"family": 6, "heard": True}, {"family": 4, "heard": False}, "x"]}
    said = []
    for heard, there in ((True, answer), (False, answer), (False, NotReady("n2 did not answer"))):
        course = Course(target())
        course.measured.sent, course.measured.underlay_answers = 3, True
        take(course, {target().key: there}, heard=heard)
        said.append(judge(course.target, course.measured, at=1).why)
    assert "blocked from here to n2" in said[0]
    assert said[1].endswith("blocked in both directions")
    assert said[2].endswith("is blocked; n2 did not answer")
    course = Course(target())
    take(course, {target().key: answer}, heard=False)
    assert (
        "but the agent of n2 answers by way of etcd"
        in judge(course.target, course.measured, at=1).why
    )
    course.measured.underlay_answers = True
    take(course, {target().key: {"results": [{"family": 4, "heard": True}]}}, heard=False)
    assert "blocked from n2 to here" in judge(course.target, course.measured, at=1).why
    take(course, {target().key: {"results": []}}, heard=True)
    assert "ICMP echo is dropped on n2" in judge(course.target, course.measured, at=1).why


def result(state: State, largest: int = 0) -> Result:
    """Of no matter whom."""
    return Result("k", "n", 4, "10.5.2.0", state=state, largest=largest)


def test_exit_codes_and_what_all_have_in_common() -> None:
    """0 well, 1 something, 2 nobody; and a fault that all share is this node's."""
    well, silent, hole = result("ok"), result("silent"), result("black hole", 1362)
    codes = [exit_code(them) for them in ([], [well], [well, silent], [hole], [silent, silent])]
    assert codes == [0, 0, 1, 1, 2]
    two = (target(2), target(3))
    assert "look at this node first" in alike([(it, silent) for it in two])
    assert "all paths carry the same 1412 bytes" in alike([(it, hole) for it in two])
    assert not alike([(two[0], hole), (two[1], well)])
    assert not alike([(two[0], silent)])


def test_the_config_that_is_printed_differs_in_the_mtu_alone() -> None:
    """Whatever else stands there, stays; what is no config gives no command; a quote cannot leave its quotes."""
    raw = b'{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","Backend":{"Type":"vxlan","GBP":true}}'
    assert with_mtu("/net", raw, 1412) == (
        'etcdctl put /net/config \'{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0",'
        '"Backend":{"Type":"vxlan","GBP":true,"MTU":1412}}\''
    )
    assert '"Backend":{"MTU":1412}' in with_mtu("/net", b'{"Network":"10.5.0.0/16"}', 1412)
    for bad in (b"", b"[]", b"\xff", b'{"Backend":7}', b"7"):
        assert with_mtu("/net", bad, 1412) == ""
    assert "'\"'\"'" in with_mtu("/net", b'{"Network":"\'; reboot"}', 1412)


def test_the_status_names_the_worst_few_and_an_answer_is_bounded() -> None:
    """Whatever the number; a subnet that is drained does not hide the other."""
    bad = [
        replace(result("silent"), key=f"k{number}", node=f"n{number // 2}") for number in range(9)
    ]
    said = named(worst_first([result("ok"), *bad, replace(result("lossy"), family=6)]))
    assert list(said) == ["probe n0", "probe n0 k1", "probe n1", "probe n1 k3", "probe n2", "probe"]
    assert said["probe"].startswith("5 more are not as they should be")
    assert named([result("ok"), result("unknown")]) == {}
    assert list(named([replace(result("lossy"), family=6)])) == ["probe n (IPv6)"]
    rows = [replace(result("ok"), why="x" * 1000).row() for _ in range(1000)]
    kept = bounded(rows)
    assert 0 < len(kept) < 1000
    assert len(json.dumps(kept)) < 512 * 1024
