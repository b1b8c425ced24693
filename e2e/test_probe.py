"""overlayctl probe and the agent's own, between whole nodes: well, lossy, a black hole, a blocked port, a node gone."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from e2e import flannel
from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.flannel import HandMade
from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.node import Node, wait_for
from overlay.family import Family

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FLANNEL = "10.5.200.0/24"
DUAL = (
    '{"Network":"10.5.0.0/16","SubnetMax":"10.5.199.0","EnableIPv6":true,"IPv6Network":"fd00:5::/48",'
    '"Backend":{"Type":"vxlan","DirectRouting":true}}'
)
QUIET = {"checksum_test": False}
"""Packets are counted here, and every other one is dropped: nobody else's may be among them."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """Three of ours, of which the third probes all the time, and one of flannel's without a bridge."""

    lab: Lab
    one: Node
    two: Node
    three: Node
    flannel: HandMade


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """All ready; each case but the last two leaves it as it found it."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        peer = HandMade.make(lab, "peer", FLANNEL)
        peer.namespace.ip("link del cni0")  # flannel's plugin makes it for the first pod
        flannel.put(lab.etcd, FLANNEL, peer.value)
        one, two, three = (lab.add_node(name, **QUIET) for name in ("n1", "n2", "n3"))
        lab.start_nodes(one, two, three)
        peer.knows(lab.etcd)
        assert three.tell("status")["probes"] == {"interval_s": 0}
        three.configure(probe_interval="5s")
        three.send(signal.SIGHUP)  # as systemctl reload
        wait_for(lambda: three.tell("probes").get("ok") == 3, "n3 has asked all", timeout_s=60)
        yield Mesh(lab, one, two, three, peer)


def probe(node: Node, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """What overlayctl probe finds, by node, and by family if there are two."""
    said = node.overlayctl("probe", *words, "--output", "json")
    assert said.code == code, said.out + said.err
    rows = json.loads(said.out)["results"]
    return {
        f"{row['node'] or row['subnet']}{'' if row['family'] == 4 else ' 6'}": row for row in rows
    }


def told(node: Node, why: str, *words: str, code: int = 1) -> dict[str, dict[str, Any]]:
    """The same once it says that of n2: the far side is asked by way of etcd, which a busy machine holds up."""
    found: dict[str, dict[str, Any]] = {}

    def says() -> bool:
        found.clear()
        found.update(probe(node, *words, code=code))
        return why in found["n2"]["why"]

    wait_for(says, why, timeout_s=30, also=lambda: str(found))
    return found


@contextmanager
def rule(space: Namespace, family: str, hook: str, text: str) -> Iterator[None]:
    """One nft rule while the block lasts."""
    chain = f"{{ type filter hook {hook} priority 0; }}"
    space.must(
        "nft", f"add table {family} t; add chain {family} t c {chain}; add rule {family} t c {text}"
    )
    try:
        yield
    finally:
        space.must("nft", "delete", "table", family, "t")


def test_a_mesh_that_is_well(mesh: Mesh) -> None:
    """Full packets reach everybody, flannel's node as well; known from the agent, or without one from the kernel."""
    one, two = mesh.one, mesh.two
    found = probe(one)
    assert set(found) == {"n2", "n3", FLANNEL}
    assert {(row["state"], row["largest"], row["full"], row["lost"]) for row in found.values()} == {
        ("ok", 1450, 1450, 0)
    }
    assert found["n2"]["address"] == two.vtep
    text = one.overlayctl("probe", "n2")
    assert text.code == 0
    for words in (
        "loss      0 of 29 packets",
        "largest   1450 of 1450",
        "1 ok (peers known from the agent",
    ):
        assert words in text.out
    assert set(probe(one, str(two.vtep), FLANNEL)) == {"n2", FLANNEL}
    assert one.overlayctl("probe", "nobody").code == 64

    one.kill_agent()
    text = one.overlayctl("probe")
    assert "3 ok (peers known from the kernel" in text.out, text.out + text.err
    mesh.lab.etcd.hang()
    try:
        assert set(probe(one, "--etcd-timeout", "300ms")) == {
            two.subnet,
            mesh.three.subnet,
            FLANNEL,
        }
    finally:
        mesh.lab.etcd.resume()
    one.start_agent()
    one.wait_ready(peers=3)


def test_every_other_packet_lost_is_loss(mesh: Mesh) -> None:
    """Half of them, by count; full ones still pass, so it is no black hole."""
    half = "iifname port2 oifname port3 ip protocol udp numgen inc mod 2 == 0 drop"
    with rule(mesh.lab.fabric, "bridge", "forward", half):
        found = probe(mesh.one, "n2", code=1)["n2"]
    assert (found["state"], found["largest"]) == ("lossy", 1450)
    assert (found["sent"], found["lost"]) == (
        32,
        16,
    )  # the first is lost, and asked for thrice more
    assert "16 of 32 packets to n2 were lost" in found["why"]


def test_nine_packets_of_ten_lost_is_loss_and_no_blocked_port(mesh: Mesh) -> None:
    """Of the underlay's own as well, as on a bad link."""
    most = "iifname port2 oifname port3 ether type ip numgen inc mod 10 != 9 drop"
    with rule(mesh.lab.fabric, "bridge", "forward", most):
        for words in ((), ("n2",)):
            found = probe(mesh.one, *words, code=1)["n2"]
            assert found["state"] == "lossy", found["why"]
            assert f"{found['lost']} of {found['sent']} " in found["why"]


def test_a_blocked_port_is_told_by_its_direction_and_recovers(mesh: Mesh) -> None:
    """The far side is asked; meanwhile n3's own probe finds it, and its end."""
    one, two, three = mesh.one, mesh.two, mesh.three
    wait_for(lambda: three.tell("status")["verdict"] == "healthy", "n3 is well", timeout_s=60)
    with rule(two.namespace, "inet", "input", "udp dport 8472 drop"):
        found = told(one, "UDP port 8472 is blocked from here to n2")
        assert {name: row["state"] for name, row in found.items()} == {
            "n2": "silent",
            "n3": "ok",
            FLANNEL: "ok",
        }
        assert f"underlay {two.address} answers" in found["n2"]["why"]
        blocked = "UDP port 8472 is blocked"
        wait_for(
            lambda: blocked in three.tell("status")["trouble"].get("probe n2", ""),
            "found",
            timeout_s=60,
        )
        assert three.tell("status")["verdict"] == "degraded"
        assert three.tell("probes")["silent"] == 1
    wait_for(lambda: three.tell("status")["verdict"] == "healthy", "well again", timeout_s=60)
    assert "probe n2: packets pass again, up to 1450 bytes" in three.log_text()
    back = "iifname port3 oifname port2 ip protocol udp drop"
    with rule(mesh.lab.fabric, "bridge", "forward", back):
        told(one, "UDP port 8472 is blocked from n2 to here", "n2", code=2)
    with rule(one.namespace, "inet", "input", f"ip saddr {two.address} udp dport 8472 drop"):
        found = probe(one, code=1)
        assert f"drops it (UDP port 8472 from {two.address})" in found["n2"]["why"]
        one.namespace.must(*found["n2"]["next"].partition(";")[0].split())
        assert probe(one, "n2")["n2"]["state"] == "ok"


def test_a_black_hole_is_named_with_the_number_and_mended_by_what_is_said(mesh: Mesh) -> None:
    """The fabric drops what is longer than 1412 bytes to n2; the config that is printed ends that. (It stays.)"""
    one, two, three = mesh.one, mesh.two, mesh.three
    with rule(mesh.lab.fabric, "bridge", "forward", "oifname port3 meta length > 1412 drop"):
        found = probe(one, code=1)
        assert {name: row["state"] for name, row in found.items()} == {
            "n2": "black hole",
            "n3": "ok",
            FLANNEL: "ok",
        }
        assert (found["n2"]["largest"], found["n2"]["full"], found["n2"]["lost"]) == (1362, 1450, 0)
        assert found["n2"]["why"] == (
            f"packets above 1362 bytes vanish on the way to n2 ({two.subnet}); pods have 1450"
        )
        said = one.overlayctl("probe", "n2")
        assert (said.code, "! packets above 1362 bytes vanish" in said.out) == (1, True)
        command = next(line for line in said.out.splitlines() if line.startswith("for all nodes: "))
        config = command.partition("'")[2].rpartition("'")[0]
        assert json.loads(config)["Backend"] == {"Type": "vxlan", "MTU": 1412}
        wait_for(
            lambda: "packets above 1362 bytes" in str(three.tell("status")["trouble"]),
            "the agent's own probe has found it",
            timeout_s=60,
        )

        mesh.lab.etcd.ctl("put", CONFIG_KEY, config)
        restart(one, two, three)
        found = probe(one)
        assert {(row["state"], row["largest"], row["full"]) for row in found.values()} == {
            ("ok", 1362, 1362)
        }


def restart(*nodes: Node) -> None:
    """As systemctl restart."""
    for node in nodes:
        node.stop_agent()
    for node in nodes:
        node.start_agent()
    for node in nodes:
        node.wait_ready(peers=3)


def test_a_node_that_is_gone(mesh: Mesh) -> None:
    """Neither way answers; its record still stands. (The last case.)"""
    address = mesh.three.address
    mesh.lab.remove_node(mesh.three)
    found = probe(mesh.one, code=1)
    assert [name for name, row in found.items() if row["state"] != "ok"] == ["n3"]
    why = found["n3"][
        "why"
    ]  # in between is what our own kernel says of it, if it has given up by then
    assert f"so is its underlay address {address}" in why
    assert ": n3 is gone" in why
    assert "overlayctl node remove n3" in found["n3"]["next"]


def test_both_families_each_by_itself_and_by_plain_routes() -> None:
    """DirectRouting: the same addresses answer, without a tunnel; what IPv6 loses is no matter of IPv4."""
    with Lab(families=tuple(Family)) as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, DUAL)
        one, two = (lab.add_node(name, **QUIET) for name in ("n1", "n2"))
        lab.start_nodes(one, two)
        found = probe(one)
        assert {(name, row["state"], row["largest"]) for name, row in found.items()} == {
            ("n2", "ok", 1430),
            ("n2 6", "ok", 1430),
        }
        assert "by a plain route" in one.overlayctl("probe", "n2").out
        six = f"ip6 daddr {two.subnets[1]} meta length > 1340 drop"
        with rule(lab.fabric, "bridge", "forward", six):
            found = probe(one, code=1)
        assert (found["n2"]["state"], found["n2 6"]["state"]) == ("ok", "black hole")
        assert found["n2 6"]["largest"] == 1340
