"""Beside flanneld in one cluster, a node taken over from it, and handed back: no ping is lost.

Without --flanneld (FLANNELD=) a replay of what flanneld does stands in for the program.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import flannel
from e2e.flannel import Flanneld, HandMade, Real
from e2e.flannelpods import BridgedPods, Steady, seen_from
from e2e.flannelreplay import DEVICE, Replayed, flannels_subnet
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.process import CommandFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
GONE = "10.5.9.0/24"
PEER = "10.5.2.0/24"
REMOVAL = """
iptables -w -t nat -D POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
iptables -w -t nat -F FLANNEL-POSTRTG
iptables -w -t nat -X FLANNEL-POSTRTG
iptables -w -D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
iptables -w -F FLANNEL-FWD
iptables -w -X FLANNEL-FWD
"""
"""As docs/flannel.md has it."""

Maker = Callable[[Node], Flanneld]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An etcd with flannel's config, and no node."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", CONFIG)
        yield made


@pytest.fixture
def flanneld(lab: Lab, flanneld_program: Path | None) -> Maker:
    """flanneld for a node: the program if one was given, else the replay."""
    if flanneld_program is not None:
        return lambda node: Real(lab, node, flanneld_program)
    return lambda node: Replayed(lab, node)


class Left:
    """A node as flanneld and flannel's plugin leave it, one pod on it, and a flannel peer with one pod."""

    def __init__(self, lab: Lab, maker: Maker) -> None:
        self.lab = lab
        self.peer = HandMade.make(lab, "peer", PEER)
        flannel.put(lab.etcd, PEER, self.peer.value)
        gone = flannel.record("192.168.50.99", "c6:d2:00:00:00:99")
        flannel.put(lab.etcd, GONE, gone)
        self.node = lab.add_node("n1")
        self.node.configure(bridge="cni0", host_local_dir=str(self.node.work / "host-local"))
        self.flanneld = maker(self.node)
        self.flanneld.start()
        self.flanneld.learn(PEER)
        self.flanneld.learn(GONE)
        self.subnet = flannels_subnet(self.flanneld.env)
        self.peer.knows(lab.etcd)
        self.bridged = BridgedPods(lab, self.node, self.flanneld.env)
        self.old = self.bridged.add()
        self.far = self.peer.pod(lab, "far")
        self.flanneld.stop()
        lab.etcd.ctl("del", flannel.key_of(GONE))
        self.node.namespace.must(
            *f"ip neigh replace 10.5.8.0 lladdr c6:d2:00:00:00:98 dev {DEVICE} nud stale".split()
        )
        assert self.old.ping(self.far.address).ok

    def macs(self) -> tuple[str, str]:
        """Of flannel.1 and cni0."""
        rows = [self.node.namespace.query("link", "show", name)[0] for name in (DEVICE, "cni0")]
        return str(rows[0]["address"]), str(rows[1]["address"])

    def steady(self) -> list[Steady]:
        """Pings both ways."""
        return [
            Steady(self.lab, self.old.namespace, self.far.address),
            Steady(self.lab, self.far.namespace, self.old.address),
        ]


@pytest.fixture
def left(lab: Lab, flanneld: Maker) -> Left:
    """What an agent finds at a take-over."""
    return Left(lab, flanneld)


def none_lost(pings: list[Steady]) -> None:
    """Of at least a second's worth each."""
    for one in pings:
        wait_for(lambda one=one: len(one.received) >= 20, "a second of pings", timeout_s=30)  # type: ignore[misc]
    for came, missing in (one.end() for one in pings):
        print(f"pings: {came} came back, lost: {missing}")
        assert not missing


def configured(node: Node) -> list[str]:
    """What rulers of a node configure, without what the kernel counts or times."""
    rows = node.namespace.query("link", "show")
    links = [f"{it['ifname']} {it['address']} {it['mtu']} {it.get('ifalias', '')}" for it in rows]
    said = [
        node.namespace.must(*words.split())
        for words in (
            "ip route show",
            f"ip neigh show dev {DEVICE}",
            f"bridge fdb show dev {DEVICE}",
            "ip -4 -o addr show",
            "nft list tables",
        )
    ]
    return links + [line for text in said for line in text.splitlines()]


def test_a_take_over_loses_no_ping_and_gives_no_address_twice(left: Left) -> None:
    """Device, MACs, lease and pods stay; what is stale goes; new pods get other addresses."""
    lab, node, macs = left.lab, left.node, left.macs()
    second = left.bridged.add()
    pings = left.steady()

    node.start_agent()
    lab.record()
    node.wait_ready()

    assert node.subnet == left.subnet
    assert left.macs() == macs
    assert not node.routes_to(GONE)
    assert "c6:d2:00:00:00:9" not in node.namespace.must("ip", "neigh", "show", "dev", DEVICE)
    assert "c6:d2:00:00:00:99" not in node.namespace.must("bridge", "fdb", "show", "dev", DEVICE)
    fresh = [lab.add_pod(node) for _ in range(3)]
    assert not {pod.address for pod in fresh} & {left.old.address, second.address}
    assert fresh[0].ping(left.old.address).ok
    assert fresh[0].ping(left.far.address).ok
    assert left.far.ping(fresh[0].address, payload=1422, whole=True).ok
    none_lost(pings)
    print(f"changes: {node.status()['changes']}")
    assert node.overlayctl("plan").out.strip() == "0 changes"
    assert node.overlayctl("ipam", "check").code == 0
    shown = {row["address"]: row for row in node.ask("ipam", "show")}
    assert shown[str(left.old.address)]["container"] == left.old.container
    assert shown[str(left.old.address)]["state"] == "in use, attached by another plugin"

    node.runtime.delete(second)
    assert not (left.bridged.network_dir / str(second.address)).exists()
    assert str(second.address) not in {row["address"] for row in node.ask("ipam", "show")}
    assert left.old.ping(left.far.address).ok


def test_a_hand_back_loses_no_ping_and_the_node_can_be_taken_over_again(left: Left) -> None:
    """Stopping is all it takes; flannel's plugin learns which addresses our pods have."""
    lab, node, macs = left.lab, left.node, left.macs()
    node.start_agent()
    lab.record()
    node.wait_ready()
    ours = lab.add_pod(node)
    pings = [*left.steady(), Steady(lab, ours.namespace, left.far.address)]

    said = node.overlayctl("ipam", "export", str(left.bridged.network_dir))
    assert said.code == 0, said.err
    node.stop_agent()
    left.flanneld.start()
    left.flanneld.learn(PEER)

    assert left.macs() == macs
    assert flannels_subnet(left.flanneld.env) == left.subnet
    assert flannel.value_of(lab.etcd, left.subnet) == flannel.record(node.address, macs[0])
    later = [left.bridged.add() for _ in range(3)]
    assert ours.address not in {pod.address for pod in later}
    assert later[0].ping(ours.address).ok
    none_lost(pings)

    pings = left.steady()
    left.flanneld.stop()
    node.start_agent()
    lab.record()
    node.wait_ready()
    none_lost(pings)
    assert left.macs() == macs
    assert later[0].ping(left.far.address).ok


def test_a_node_that_began_with_us_goes_to_flanneld(lab: Lab, flanneld: Maker) -> None:
    """Its device has our name: renamed while it is up where the kernel can, else down and up again."""
    node, peer = lab.add_node("n1"), HandMade.make(lab, "peer", PEER)
    flannel.put(lab.etcd, PEER, peer.value)
    node.configure(bridge="cni0")
    lab.start_nodes(node)
    peer.knows(lab.etcd)
    ours, far, subnet = lab.add_pod(node), peer.pod(lab, "far"), node.subnet
    pings = [Steady(lab, ours.namespace, far.address), Steady(lab, far.namespace, ours.address)]
    node.stop_agent()
    theirs = flanneld(node)
    with pytest.raises(CommandFailed):  # one device per VNI and port: it cannot make its own
        theirs.start()

    node.namespace.ip("link set overlay.1 name flannel.1")
    theirs.start()
    theirs.learn(PEER)
    none_lost(pings)
    assert flannels_subnet(theirs.env) == subnet

    theirs.stop()
    node.namespace.ip("link set flannel.1 down", "link set flannel.1 name overlay.1")
    node.namespace.ip("link set overlay.1 down", "link set overlay.1 name flannel.1")
    theirs.start()  # what older kernels need: the routes are gone until flanneld makes them again
    theirs.learn(PEER)
    wait_for(lambda: ours.ping(far.address).ok, "traffic is back", timeout_s=20)


def test_an_agent_waits_while_flanneld_runs_on_its_node(left: Left) -> None:
    """Nothing is touched; once flanneld stops the agent goes on; a flanneld that comes later is reported."""
    lab, node = left.lab, left.node
    left.flanneld.start()
    before = configured(node)
    node.start_agent()
    lab.record()

    wait_for(lambda: "flanneld runs on this node" in node.log_text(), "it says so", timeout_s=30)
    assert "systemctl disable --now flanneld" in node.log_text()
    assert configured(node) == before
    assert "flanneld runs on this node" in node.status()["waiting_for"]

    left.flanneld.stop()
    node.wait_ready()
    changes = node.status()["changes"]

    left.flanneld.start()
    wait_for(lambda: "flanneld" in node.status()["trouble"], "it is reported", timeout_s=30)
    assert "written by flannel" in node.status()["trouble"]["flanneld"]
    assert left.old.ping(left.far.address).ok
    left.flanneld.stop()
    assert node.status()["changes"] <= changes + 5  # a fight would go on


def test_flannels_leftover_rules_masquerade_nothing_twice(left: Left) -> None:
    """Pod to pod never, pod to outside once; without flannel's rules it stays so."""
    lab, node = left.lab, left.node
    node.start_agent()
    lab.record()
    node.wait_ready()
    ours = lab.add_pod(node)
    assert "FLANNEL-POSTRTG" in node.namespace.must("iptables-save")

    def as_seen() -> list[str]:
        return [
            seen_from(pod, there, address)
            for pod in (left.old, ours)
            for there, address in (
                (lab.fabric, "192.168.50.254"),
                (left.far.namespace, left.far.address),
            )
        ]

    expected = [node.address, str(left.old.address), node.address, str(ours.address)]
    assert as_seen() == expected
    node.namespace.must("sh", "-e", "-c", REMOVAL)
    assert "FLANNEL" not in node.namespace.must("iptables-save")
    assert as_seen() == expected


def test_a_flannel_peer_made_by_hand_and_our_node_are_one_network(lab: Lab) -> None:
    """Small and full packets both ways; what flanneld writes at a renewal changes nothing here."""
    node, peer = lab.add_node("n1"), HandMade.make(lab, "peer", PEER)
    flannel.put(lab.etcd, PEER, peer.value)
    lab.start_nodes(node)
    peer.knows(lab.etcd)
    ours, far = lab.add_pod(node), peer.pod(lab, "far")
    for here, there in ((ours, far), (far, ours)):
        assert here.ping(there.address).ok
        assert here.ping(there.address, payload=1422, whole=True).ok
    mac = node.namespace.query("link", "show", "overlay.1")[0]["address"]
    assert flannel.value_of(lab.etcd, node.subnet).startswith(
        flannel.record(node.address, mac).removesuffix("}") + ","
    )

    changes = node.status()["changes"]
    for _ in range(3):
        flannel.put(lab.etcd, PEER, peer.value)
    lab.etcd.ctl("put", flannel.key_of(PEER), peer.value)  # a reservation: without TTL
    odd = odd_records(lab, peer)
    wait_for(lambda: len(node.ask("peers")) == 1 + len(odd), "all heard of", timeout_s=20)

    states = {row["subnet"]: row["state"] for row in node.ask("peers")}
    assert {subnet: states[subnet] for subnet in odd} == odd
    assert states[PEER] == "ok"
    served = [subnet for subnet, state in odd.items() if state == "ok"]
    assert all(node.routes_to(subnet.partition(",")[0]) for subnet in served)
    assert node.status()["changes"] == changes + 3 * len(served)
    assert node.overlayctl("plan").out.strip() == "0 changes"
    assert ours.ping(far.address).ok


def odd_records(lab: Lab, peer: HandMade) -> dict[str, str]:
    """Put what other flannels may write; subnet → what overlayctl is to say of it."""
    mac = "C6:D2:32:6F:8F:%02X"
    host_gw = '{"PublicIP":"192.168.50.61","PublicIPv6":null,"BackendType":"host-gw"}'
    wireguard = (
        '{"PublicIP":"192.168.50.62","PublicIPv6":null,"BackendType":"wireguard",'
        '"BackendData":{"PublicKey":"c2VjcmV0","Port":51820}}'
    )
    no_mac = (
        '{"PublicIP":"192.168.50.63","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1}}'
    )
    foreign = flannel.record("192.168.50.64", mac % 4).replace('"VNI":1', '"VNI":7')
    upper = flannel.record("192.168.50.65", mac % 5)
    both = flannel.record("192.168.50.66", mac % 6).replace(
        '"PublicIPv6":null', '"PublicIPv6":"fd00:50::66"'
    )
    records = {
        "10.5.61.0/24": (host_gw, "not served: backend host-gw, ours is vxlan"),
        "10.5.62.0/24": (wireguard, "not served: backend wireguard, ours is vxlan"),
        "10.5.63.0/24": (no_mac, "not served: its record has no VtepMAC"),
        "10.5.64.0/24": (foreign, "not served: VNI 7, ours is 1"),
        "10.5.65.0/24": (upper, "ok"),
    }
    for subnet, (value, _) in records.items():
        flannel.put(lab.etcd, subnet, value)
    dual = f"{flannel.key_of('10.5.66.0/24')}&fd00:5:0:66::-64"
    lab.etcd.ctl("put", dual, both)
    return {subnet: state for subnet, (_, state) in records.items()} | {
        "10.5.66.0/24, fd00:5:0:66::/64": "ok"
    }
