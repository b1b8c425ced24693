"""A real containerd on each of two nodes: what kubelet would do, through our plugin, with real containers."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from e2e import containerd, debianplugins, footprint
from e2e.containerd import Containerd
from e2e.cri import CriFailed
from e2e.etcdserver import NETWORK, PREFIX
from e2e.images import Images
from e2e.lab import Lab
from e2e.netns import NETNS_DIR
from e2e.node import Node, wait_for
from e2e.podspec import sandbox_config
from e2e.servingpod import fetch_from

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HOST_PORT = 18080
MANY = 30
THREADS = 12


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two nodes with agent and containerd."""

    lab: Lab
    one: Node
    two: Node
    first: Containerd
    second: Containerd


@pytest.fixture(scope="module")
def standing(built_images: Images) -> Iterator[Cluster]:
    """One cluster for the whole file."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", f"{PREFIX}/config", NETWORK)
        nodes = lab.add_node("n1"), lab.add_node("n2")
        for node in nodes:
            debianplugins.link(node.runtime.bin_dir, "loopback", *debianplugins.CHAIN)
        lab.start_nodes(*nodes)
        first, second = (containerd.on_node(lab, node, built_images) for node in nodes)
        for runtime in (first, second):
            runtime.wait_network()
        yield Cluster(lab, *nodes, first, second)


@pytest.fixture
def cluster(standing: Cluster) -> Iterator[Cluster]:
    """The same, and the promise of every test here: its pods leave nothing behind on either node."""
    yield standing
    for runtime in (standing.first, standing.second):
        runtime.remove_all()
    assert [footprint.of(node) for node in (standing.one, standing.two)] == [[], []]


def _is_healthy(node: Node) -> bool:
    return bool(node.status()["verdict"] == "healthy")


def test_pods_serve_each_other_across_nodes(cluster: Cluster) -> None:
    """HTTP from container to container through the overlay, both ways, at the overlay's MTU."""
    here = cluster.first.run_pod("here", nameservers=["10.96.0.10"])
    there = cluster.second.run_pod("there")

    assert (here.fetch(there.address), there.fetch(here.address)) == ("there", "here")
    assert here.exec("cat", "/sys/class/net/eth0/mtu").out.strip() == "1450"
    assert here.ping(there.address, payload=here.largest_payload, whole=True).ok
    assert "nameserver 10.96.0.10" in here.exec("cat", "/etc/resolv.conf").out


def test_a_host_port_is_reached_from_everywhere(cluster: Cluster) -> None:
    """From the other node, the node itself, its loopback, another pod, and the pod itself."""
    pod = cluster.first.run_pod("web", host_ports={HOST_PORT: 80})
    remote, neighbour = cluster.second.run_pod("remote"), cluster.first.run_pod("neighbour")
    node = cluster.one.address

    assert fetch_from(cluster.two.namespace, node, HOST_PORT) == "web"
    assert fetch_from(cluster.one.namespace, node, HOST_PORT) == "web"
    assert fetch_from(cluster.one.namespace, "127.0.0.1", HOST_PORT) == "web"
    assert remote.fetch(node, HOST_PORT) == "web"
    assert neighbour.fetch(node, HOST_PORT) == "web"
    assert pod.fetch(node, HOST_PORT) == "web"  # hairpin

    pod.remove()
    assert not [line for line in footprint.of(cluster.one) if str(HOST_PORT) in line]


def test_a_bandwidth_annotation_is_obeyed(cluster: Cluster) -> None:
    """kubelet passes it on, our conflist has Debian's bandwidth plugin if it was there at first."""
    limits = {"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "8M"}
    pod = cluster.first.run_pod("slow", annotations=limits)

    shown = cluster.one.namespace.must("tc", "qdisc", "show")
    assert shown.count("rate 8Mbit") == 2
    assert pod.ping(cluster.two.vtep).ok
    pod.remove()
    assert "rate 8Mbit" not in cluster.one.namespace.must("tc", "qdisc", "show")


def test_containerd_killed_between_add_and_del(cluster: Cluster, built_images: Images) -> None:
    """The pod keeps its address and its traffic; the new containerd removes it to the last trace."""
    pod = cluster.first.run_pod("survivor", host_ports={HOST_PORT: 80})
    other = cluster.second.run_pod("other")

    cluster.first.kill()
    assert other.fetch(pod.address) == "survivor"

    cluster.first.start(built_images)
    cluster.lab.record()
    assert cluster.first.address(pod.container) == pod.address
    assert other.fetch(pod.address) == "survivor"
    pod.remove()
    assert footprint.of(cluster.one) == []


def test_many_pods_at_once_have_addresses_of_their_own(cluster: Cluster) -> None:
    """Thirty, from a dozen threads; removed the same way, nothing is left."""

    def run(number: int) -> str:
        config = sandbox_config(
            f"many{number}",
            uid=secrets.token_hex(8),
            cgroup=cluster.lab.cgroup,
            host_ports={},
            annotations={},
        )
        return cluster.first.run_sandbox(config)

    with ThreadPoolExecutor(THREADS) as pool:
        sandboxes = list(pool.map(run, range(MANY)))
        addresses = {cluster.first.address(sandbox) for sandbox in sandboxes}
        assert len(addresses) == MANY
        list(pool.map(cluster.first.remove, sandboxes))
    assert cluster.first.sandboxes() == []
    assert footprint.of(cluster.one) == []


def test_pods_go_while_the_agent_is_dead(cluster: Cluster) -> None:
    """Removed, and even started, by the plugin alone."""
    pod = cluster.first.run_pod("old", host_ports={HOST_PORT: 80})
    other = cluster.second.run_pod("other")
    cluster.one.kill_agent()
    try:
        late = cluster.first.run_pod("late")
        assert late.fetch(other.address) == "other"
        pod.remove()
        late.remove()
        assert footprint.of(cluster.one) == []
    finally:
        cluster.lab.start_nodes(cluster.one)


def test_pods_come_and_go_while_etcd_is_dead(cluster: Cluster) -> None:
    """Neither needs it."""
    pod = cluster.first.run_pod("old")
    cluster.lab.etcd.stop()
    try:
        late = cluster.second.run_pod("late")
        assert late.fetch(pod.address) == "old"
        pod.remove()
        late.remove()
        assert (footprint.of(cluster.one), footprint.of(cluster.two)) == ([], [])
    finally:
        cluster.lab.etcd.start()
        cluster.lab.record()
    for node in (cluster.one, cluster.two):
        wait_for(partial(_is_healthy, node), f"{node.name} healthy", timeout_s=60)


def test_stop_again_and_again_then_remove(cluster: Cluster) -> None:
    """containerd sends a DEL each time, after the first with an empty CNI_NETNS; all succeed."""
    pod = cluster.first.run_pod("twice", host_ports={HOST_PORT: 80})

    for _ in range(3):
        pod.stop()
        assert not [line for line in footprint.of(cluster.one) if not line.startswith("mount")]
    pod.remove()
    assert cluster.first.sandboxes() == []


def test_a_pod_whose_veth_was_deleted_is_removed_cleanly(cluster: Cluster) -> None:
    """Somebody's `ip link del` costs the pod its network, never the node its address."""
    pod = cluster.first.run_pod("cut", host_ports={HOST_PORT: 80})
    link = next(line for line in footprint.of(cluster.one) if line.startswith("link ovl"))
    cluster.one.namespace.ip(f"link del {link.removeprefix('link ')}")

    pod.remove()
    assert footprint.of(cluster.one) == []


def test_a_node_that_is_not_ready_says_so_and_leaks_nothing(
    cluster: Cluster, built_images: Images
) -> None:
    """Without a conflist kubelet sees NetworkReady=false; with one but no subnet, our own words."""
    node = cluster.lab.add_node("n3")
    debianplugins.link(node.runtime.bin_dir, "loopback")
    runtime = containerd.on_node(cluster.lab, node, built_images)
    assert runtime.network() == (False, "Network plugin returns error: cni plugin not initialized")
    with pytest.raises(CriFailed, match="cni plugin not initialized"):
        runtime.run_pod("early")

    (node.conf_dir / "10-overlay.conflist").write_text(
        '{"cniVersion":"1.0.0","name":"overlay","plugins":[{"type":"overlay"}]}'
    )
    runtime.wait_network()
    runtime.remove_all()  # without any plugin containerd keeps what it failed to start
    with pytest.raises(CriFailed) as refused:
        runtime.run_pod("early")

    assert 'plugin type="overlay" failed (add)' in refused.value.details
    assert "overlay-agent has not got a subnet yet" in refused.value.details
    assert runtime.sandboxes() == []
    assert footprint.of(node) == []


def test_nothing_appears_in_the_machines_own_netns_directory(cluster: Cluster) -> None:
    """A lab's containerd keeps pod namespaces below the lab."""
    before = set(NETNS_DIR.iterdir())
    pod = cluster.first.run_pod("own")

    assert pod.namespace.path.is_relative_to(cluster.first.work)
    assert {path.name for path in set(NETNS_DIR.iterdir()) - before if "cni-" in path.name} == set()
