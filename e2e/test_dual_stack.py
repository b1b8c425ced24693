"""IPv4 and IPv6 at once: two tunnels, two addresses per pod, and the way there from a cluster that has only IPv4."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from e2e import flannel
from e2e.etcdserver import CONFIG_KEY, NETWORK, SUBNETS
from e2e.lab import Lab, underlay
from e2e.node import Node, wait_for
from e2e.pinger import Pings
from e2e.pods import Pod
from overlay.family import Family

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

NETWORKS = ("--network", "10.5.0.0/16", "--ipv6-network", "fd00:5::/48")
Pair = tuple[Lab, Node, Node]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An etcd, an underlay of both families, and no node."""
    with Lab(families=tuple(Family)) as made:
        made.etcd.start()
        yield made


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two nodes that are ready, for all tests that leave them so; the config is what overlayctl writes."""
    with Lab(families=tuple(Family)) as lab:
        lab.etcd.start()
        # Whatever leaves by a tunnel is not the agent's own question about checksums.
        one, two = (lab.add_node(name, checksum_test=False) for name in ("n1", "n2"))
        assert one.overlayctl("init", *NETWORKS).code == 0
        lab.start_nodes(one, two)
        yield lab, one, two


def reaches(here: Pod, there: Pod, *, count: int = 1) -> bool:
    """By every address of the other."""
    return all(here.ping(address, count=count, wait_s=5).ok for address in there.addresses)


def ways(node: Node, other: Node) -> bool:
    """Whether a node wants no change and has a route for each family of another one."""
    return node.tell("plan")["steps"] == [] and all(
        node.routes_to(str(subnet)) for subnet in other.subnets
    )


def sent_over(node: Node, device: str) -> int:
    """Frames that left by a tunnel."""
    row = json.loads(node.namespace.must("ip", "-j", "-s", "link", "show", device))[0]
    return int(row["stats64"]["tx"]["packets"])


def test_pods_talk_by_both_families_and_only_what_fits_passes(pair: Pair) -> None:
    """One MTU for both, that of the tighter tunnel; the node's pages say it in flannel's order."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    assert here.mtu == 1430
    assert [Family.of(address) for address in here.addresses] == list(Family)

    for address in there.addresses:
        full = here.filling(Family.of(address))
        assert here.ping(address, wait_s=5).ok
        assert here.ping(address, payload=full, whole=True, wait_s=5).ok
        assert here.ping(address, payload=full + 1, whole=True).too_long
        assert one.namespace.run(["ping", "-n", "-c1", "-W5", str(address)]).code == 0
    for subnet in two.subnets:
        assert here.ping(subnet.network_address, wait_s=5).ok  # the other's VTEP

    four, six = one.subnets
    assert (one.run_dir / "subnet.env").read_text() == (
        f"FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET={four[1]}/24\n"
        f"FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET={six[1]}/64\n"
        "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n"
    )
    key = f"{SUBNETS}{four.network_address}-24&{six.network_address}-64"
    record = json.loads(lab.etcd.ctl("get", "--print-value-only", key))
    assert (record["PublicIP"], record["PublicIPv6"]) == ("192.168.50.1", "fd50::1")
    assert record["BackendData"]["VtepMAC"] != record["BackendV6Data"]["VtepMAC"]
    assert here.ping(
        "192.168.50.254", wait_s=5
    ).ok  # masqueraded: the fabric has no way back to pods
    assert here.ping("fd50::fe", wait_s=5).ok


def test_an_idle_tunnel_is_silent_and_a_new_pods_first_packet_arrives(pair: Pair) -> None:
    """No router solicitation, no multicast report, no duplicate address detection that anybody waits for."""
    lab, one, two = pair
    for node in (one, two):  # made anew: its counters begin before it is up
        node.namespace.ip("link del overlay-v6.1")
    for node, other in ((one, two), (two, one)):
        wait_for(lambda n=node, o=other: ways(n, o), "made anew", timeout_s=30)  # type: ignore[misc]
    here, there = lab.add_pod(one), lab.add_pod(two)
    assert [sent_over(node, "overlay-v6.1") for node in (one, two)] == [0, 0]

    assert here.ping(there.addresses[1], wait_s=10).received == 1

    assert [sent_over(node, "overlay-v6.1") for node in (one, two)] == [1, 1]
    for space in (here.namespace, one.namespace):
        shown = space.query("-6", "addr", "show", "scope", "global")
        assert not [info for row in shown for info in row["addr_info"] if info.get("tentative")]


def test_a_killed_agents_traffic_flows_a_restart_changes_nothing_and_damage_is_mended(
    pair: Pair,
) -> None:
    """In both families."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    subnets = two.subnets

    two.kill_agent()
    assert reaches(here, there, count=3)
    assert reaches(here, lab.add_pod(two))  # the plugin works without an agent
    two.start_agent()
    two.wait_ready()
    assert two.subnets == subnets
    assert two.status()["changes"] == 0
    assert two.overlayctl("plan").out.strip() == "0 changes"

    for damage in (
        f"route del {subnets[1]}",
        "link del overlay-v6.1",
        "addr flush dev overlay0",
    ):
        one.namespace.ip(damage)
        wait_for(lambda: reaches(here, there), f"traffic after {damage}", timeout_s=40)


def test_a_pod_whose_runtime_switched_ipv6_off_has_it_where_it_was_given_an_address(
    pair: Pair,
) -> None:
    """As with the bridge plugin; a read-only /proc is not in the way, since it is the node's that is written."""
    lab, one, two = pair
    there, here = lab.add_pod(two), lab.bare_pod(one)
    here.namespace.must("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    here.namespace.must("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")

    one.runtime.add(here)

    assert reaches(here, there)


def test_a_peer_with_one_family_is_served_by_that_one(pair: Pair) -> None:
    """flannel's nodes in a dual-stack network that have not been restarted; a record of IPv6 alone."""
    lab, one, two = pair
    taken = {str(node.subnets[0]) for node in (one, two)}  # anywhere in the network
    free = next(it for it in ("10.5.250.0/24", "10.5.251.0/24", "10.5.252.0/24") if it not in taken)
    flannel.put(lab.etcd, free, flannel.record("192.168.50.99", "c6:d2:00:00:00:99"))
    data = '{"VNI":1,"VtepMAC":"c6:d2:00:00:06:98"}'
    flannel.put(
        lab.etcd,
        "fd00:5:0:98::/64",
        f'{{"PublicIP":"0.0.0.0","PublicIPv6":"fd50::98","BackendType":"vxlan","BackendV6Data":{data}}}',
    )

    wait_for(lambda: bool(one.routes_to(free)), "IPv4 way", timeout_s=20, also=one.log_tail)
    wait_for(
        lambda: bool(one.routes_to("fd00:5:0:98::/64")), "IPv6 way", timeout_s=20, also=one.log_tail
    )

    wait_for(
        lambda: one.tell("status")["verdict"] == "healthy",
        "healthy",
        timeout_s=20,
        also=one.log_tail,
    )
    assert {row["state"] for row in one.ask("peers")} == {"ok"}


def test_flannels_two_devices_are_adopted_under_their_own_names(lab: Lab) -> None:
    """With the MACs that all peers know."""
    node = lab.add_node("n1")
    assert node.overlayctl("init", *NETWORKS).code == 0
    macs = {"flannel.1": "c6:d2:00:00:00:01", "flannel-v6.1": "c6:d2:00:00:06:01"}
    for (name, mac), family in zip(macs.items(), Family, strict=True):
        node.namespace.ip(
            f"link add {name} address {mac} mtu 1430 type vxlan id 1 dev eth0 "
            f"local {underlay(family, 1)} dstport 8472 nolearning",
            f"link set {name} up",
        )

    lab.start_nodes(node)

    assert [row.partition(" ")[0] for row in node.status()["devices"]] == list(macs)
    (record,) = flannel.leases(lab.etcd).values()
    assert record["BackendData"]["VtepMAC"] == macs["flannel.1"]
    assert record["BackendV6Data"]["VtepMAC"] == macs["flannel-v6.1"]


def test_an_underlay_address_that_is_not_usable_yet_is_waited_for(lab: Lab) -> None:
    """At boot there is only fe80, which is nothing to peers, then an address that is checked for duplicates."""
    node = lab.add_node("n1")
    assert node.overlayctl("init", *NETWORKS).code == 0
    address = f"{underlay(Family.V6, 1)}/64"
    node.namespace.ip(f"addr del {address} dev eth0")
    node.start_agent()
    lab.record()
    wait_for(lambda: "interface eth0 has no V6 address yet" in node.log_text(), "so", timeout_s=20)

    node.namespace.ip(f"addr add {address} dev eth0")

    node.wait_ready()
    assert "fd50::1 " in node.status()["underlay"]


def test_a_renumbered_underlay_is_followed_and_loses_no_ping(lab: Lab) -> None:
    """As routers advertise it: a temporary address beside the lasting one, a new prefix, the old one deprecated."""
    nodes = [lab.add_node(name) for name in ("n1", "n2")]
    assert nodes[0].overlayctl("init", *NETWORKS).code == 0
    lasting = "mngtmpaddr valid_lft 600 preferred_lft 300 nodad"
    for number, node in enumerate(nodes, 1):
        space = node.namespace
        space.must("sysctl", "-qw", "net.ipv6.conf.eth0.use_tempaddr=2")
        space.ip(
            f"addr del fd50::{number}/64 dev eth0",
            f"addr add fd50::aa:{number}/64 dev eth0 {lasting}",
            "route add fd51::/64 dev eth0",
        )
        space.ip("route replace default via fd50::fe")
        wait_for(
            lambda it=space: "temporary" in it.must("ip", "-6", "addr", "show", "dev", "eth0"),  # type: ignore[misc]
            "a temporary address",
            timeout_s=20,
        )
    lab.start_nodes(*nodes)
    one, two = nodes
    here, there = (lab.add_pod(node) for node in nodes)
    assert "fd50::aa:1 " in one.status()["underlay"]
    pings = Pings(lab)
    pings.between([replace(pod, addresses=pod.addresses[1:]) for pod in (here, there)])

    with pings.window() as window:
        one.namespace.ip(f"addr add fd51::aa:1/64 dev eth0 {lasting}")
        one.namespace.ip(
            "addr change fd50::aa:1/64 dev eth0 mngtmpaddr valid_lft 600 preferred_lft 0"
        )
        wait_for(
            lambda: "fd51::aa:1" in two.namespace.must("bridge", "fdb", "show"),
            "the peer knows the new address",
            timeout_s=30,
            also=one.log_tail,
        )
    assert (window.lost, window.gaps) == (0, {})


def test_ipv6_comes_to_a_running_cluster_and_no_ping_is_lost(lab: Lab) -> None:
    """Agents restarted one after the other: IPv4 subnets stay, pods of before keep what they have.

    (flannel gives every node another IPv4 subnet.) One node has even lost its state directory.
    """
    lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
    nodes = [lab.add_node(f"n{number}") for number in (1, 2, 3)]
    lab.start_nodes(*nodes)
    before = [node.subnets for node in nodes]
    old = [lab.add_pod(node) for node in nodes]
    assert [len(pod.addresses) for pod in old] == [1, 1, 1]
    pings = Pings(lab)
    pings.between(old)

    with pings.window() as window:
        assert nodes[0].overlayctl("init", "--force", *NETWORKS).code == 0
        for node in nodes:
            node.stop_agent()
            if node is nodes[2]:
                (node.work / "state" / "state.json").unlink()
            node.start_agent()
            lab.record()
            wait_for(lambda it=node: len(it.subnets) == 2, "both families", timeout_s=45)  # type: ignore[misc]
            node.wait_ready(peers=2)
    assert not window.gaps
    assert window.sent > 0

    assert [node.subnets[:1] for node in nodes] == before
    here, there = (lab.add_pod(node) for node in nodes[1:])
    wait_for(lambda: reaches(here, there), "new pods talk", timeout_s=20)
    assert here.ping(old[0].address, wait_s=5).ok
    pods = (here, *old)
    wait_for(lambda: {pod.link_mtu() for pod in pods} == {1430}, "all have that MTU", timeout_s=20)
    assert len(lab.etcd.ctl("get", "--prefix", "--keys-only", SUBNETS).split()) == 3
