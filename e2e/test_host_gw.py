"""The host-gw backend between whole nodes: two on one link, one behind a router that nothing leads to."""

import json
from collections.abc import Iterator

import pytest

from e2e import flannel
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pinger import Pings
from e2e.segments import node_behind, second_link, watching

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG_KEY = "/coreos.com/network/config"
HOST_GW = '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}'
VXLAN = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
DIRECT = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}'


@pytest.fixture
def three() -> Iterator[tuple[Lab, Node, Node, Node]]:
    """Ready; the third is out of reach, so it and the others are degraded and serve pods nevertheless."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, HOST_GW)
        second_link(lab)
        nodes = (lab.add_node("n1"), lab.add_node("n2"), node_behind(lab, "n3", 3))
        lab.start_nodes(*nodes)
        yield (lab, *nodes)


def vxlans(node: Node) -> list[str]:
    """The node's VXLAN devices."""
    return [row["ifname"] for row in node.namespace.query("link", "show", "type", "vxlan")]


def test_host_gw_from_the_first_start_to_another_backend(
    three: tuple[Lab, Node, Node, Node],
) -> None:
    """Whole frames without a tunnel; who is off link is named; a take-over, a kill and a restart lose nothing."""
    lab, one, two, far = three
    here, there = lab.add_pod(one), lab.add_pod(two)
    record = json.loads(flannel.value_of(lab.etcd, one.subnet))
    assert record["BackendType"] == "host-gw"
    assert "BackendData" not in record
    assert vxlans(one) == []
    assert here.mtu == 1500
    with watching(lab.fabric, "port1") as seen:
        assert here.ping(there.address, payload=1472, whole=True).ok
    assert (seen.plain, seen.tunnelled) == (2, 0)
    assert seen.sources == {str(here.address), str(there.address)}
    _names_who_is_off_link(one, far)

    pings = Pings(lab)
    pings.between([here, there])
    with pings.window() as window:
        one.kill_agent()
        # as flanneld leaves it: its host-gw routes have no protocol of their own
        route = f"{two.subnet} via {two.address} dev eth0"
        one.namespace.ip(f"route replace {route} proto boot")
        one.start_agent()
        one.wait_ready(peers=2)
        assert one.routes_to(two.subnet)[0]["protocol"] in ("overlay", "158")
        one.kill_agent()
        one.start_agent()
        one.wait_ready(peers=2)
        assert one.status()["changes"] == 0
        assert one.overlayctl("plan").out.strip() == "0 changes"
    assert (window.lost, window.gaps) == (0, {})

    # Too fast to be seen down. Without IPv6, of whose routes the kernel does speak, nothing tells that they are gone.
    one.namespace.ip(
        "link set eth0 down", "link set eth0 up", "route add default via 192.168.50.254"
    )
    wait_for(lambda: bool(one.routes_to(two.subnet)), "back after a flap", timeout_s=20)
    one.namespace.ip("link set eth0 down")
    wait_for(lambda: not one.routes_to(two.subnet), "nothing leads there", timeout_s=20)
    one.namespace.ip("link set eth0 up", "route add default via 192.168.50.254")
    wait_for(lambda: bool(one.routes_to(two.subnet)), "back", timeout_s=20)

    lab.etcd.ctl("put", CONFIG_KEY, DIRECT)
    wait_for(lambda: "host-gw -> vxlan" in str(one.status()["notices"]), "said", timeout_s=20)
    for node in (one, two, far):
        node.stop_agent()
    lab.start_nodes(one, two, far)
    wait_for(lambda: here.ping(there.address).ok, "traffic is back", timeout_s=20)
    assert vxlans(one) == ["overlay.1"]
    assert one.routes_to(far.subnet)[0]["dev"] == "overlay.1"
    lab.etcd.ctl("put", CONFIG_KEY, HOST_GW)
    for node in (one, two):
        node.stop_agent()
        node.start_agent()
    for node in (one, two):
        node.wait_ready(peers=2)
    wait_for(lambda: vxlans(one) == [], "the stale device is gone", timeout_s=20)
    wait_for(lambda: here.ping(there.address).ok, "the peer's new record is heard", timeout_s=20)


def _names_who_is_off_link(one: Node, far: Node) -> None:
    states = {row["node"]: (row["way"], row["state"]) for row in one.ask("peers")}
    assert states["n2"] == ("direct by eth0", "ok")
    assert states["n3"][0] == "-"
    assert states["n3"][1].startswith(f"not served: {far.address} is not on link here")
    status = one.status()
    assert status["verdict"] == "degraded"
    assert "DirectRouting" in status["trouble"]["host-gw does not reach"]
    assert not one.routes_to(far.subnet)
    assert f"peers not reached count=1 first={far.subnet.replace('/', '-')}" in one.log_text()


@pytest.mark.parametrize("config", [HOST_GW, DIRECT, VXLAN], ids=["host-gw", "direct", "vxlan"])
def test_two_nodes_that_swap_their_addresses_are_reached_again(config: str) -> None:
    """As DHCP may give them out anew: each has the address that peers know as the other's. Their subnets stay."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, config)
        nodes = [lab.add_node(f"n{number}") for number in (1, 2, 3)]
        lab.start_nodes(*nodes)
        subnets = [node.subnet for node in nodes]
        one, two, three = (lab.add_pod(node) for node in nodes)
        swapped = list(zip(nodes[1:], ("192.168.50.3", "192.168.50.2"), strict=True))

        for node, _ in swapped:
            node.namespace.ip(f"addr del {node.address}/24 dev eth0")
        for node, address in swapped:
            node.namespace.ip(
                f"addr add {address}/24 dev eth0", "route replace default via 192.168.50.254"
            )
        for node in nodes:
            node.namespace.ip("neigh flush all")

        wait_for(
            lambda: all(a.ping(b.address).ok for a, b in ((one, two), (one, three), (two, three))),
            "all talk",
            timeout_s=40,
            also=nodes[1].log_tail,
        )
        assert [node.subnet for node in nodes] == subnets


def test_host_gw_refuses_an_address_that_is_not_the_interfaces() -> None:
    """As flannel does: peers could not route by way of it."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, HOST_GW)
        node = lab.add_node("n1", public_ip="192.0.2.77", iface=["eth0"])
        node.start_agent()
        lab.record()
        wait_for(
            lambda: "public_ip = 192.0.2.77 is not the address of eth0" in node.log_text(),
            "the address is refused",
            timeout_s=30,
        )
