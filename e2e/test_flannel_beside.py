"""Beside flanneld: in one cluster with its nodes, its records of all kinds, its rules, and itself on our node."""

import pytest

from e2e import flannel
from e2e.flannel import HandMade
from e2e.flannelnode import PEER, Left, Maker, none_lost
from e2e.flannelpods import BridgedPods, Steady, seen_from
from e2e.flannelreplay import DEVICE, flannels_subnet
from e2e.lab import Lab
from e2e.node import Node, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

REMOVAL = """
iptables -w -t nat -D POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
iptables -w -t nat -F FLANNEL-POSTRTG
iptables -w -t nat -X FLANNEL-POSTRTG
iptables -w -D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
iptables -w -F FLANNEL-FWD
iptables -w -X FLANNEL-FWD
"""
"""As docs/flannel.md has it."""


def test_a_flannel_peer_made_by_hand_and_our_node_are_one_network(flannel_lab: Lab) -> None:
    """Small and full packets both ways; what flanneld writes at a renewal changes nothing here."""
    lab = flannel_lab
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
    due = changes + 3 * len(served)
    wait_for(lambda: node.status()["changes"] == due, "each is programmed once", timeout_s=20)
    assert all(node.routes_to(subnet.partition(",")[0]) for subnet in served)
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


def test_flanneld_and_our_node_are_one_network(flannel_lab: Lab, flanneld: Maker) -> None:
    """A flanneld that starts again writes its record under another etcd lease: no change here."""
    lab = flannel_lab
    theirs, ours = lab.add_node("n1"), lab.add_node("n2")
    daemon = flanneld(theirs)
    daemon.start()
    lab.start_nodes(ours)
    daemon.learn(ours.subnet)
    far, here = BridgedPods(lab, theirs, daemon.env).add(), lab.add_pod(ours)
    for one, other in ((here, far), (far, here)):
        assert one.ping(other.address).ok
        assert one.ping(other.address, payload=1422, whole=True).ok

    changes, pings = ours.status()["changes"], [Steady(lab, here.namespace, far.address)]
    before = flannel.revision_of(lab.etcd, flannels_subnet(daemon.env))
    daemon.stop()
    daemon.start()
    daemon.learn(ours.subnet)
    none_lost(pings)
    assert flannel.revision_of(lab.etcd, flannels_subnet(daemon.env)) > before
    assert ours.status()["changes"] == changes
    assert ours.status()["verdict"] == "healthy"


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
