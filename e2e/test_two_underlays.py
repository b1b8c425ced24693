"""A dual-stack network whose families stand on different interfaces, and what pods send beyond the pod network."""

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

import pytest

from e2e import flannel
from e2e.etcdserver import CONFIG_KEY
from e2e.lab import Lab
from e2e.netns import cable
from e2e.node import Node, wait_for
from e2e.stream import Server, carries
from overlay.family import Family

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG = (
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48",'
    '"Backend":{"Type":"vxlan"}}'
)
SERVICE = {Family.V4: ip_address("10.96.0.1"), Family.V6: ip_address("fd96::1")}
SERVICE_RULES = """table inet service {{
chain incoming {{
type nat hook prerouting priority -100
ip daddr 10.96.0.1 dnat to {0}
ip6 daddr fd96::1 dnat to {1}
}}
chain local {{
type nat hook output priority -100
ip daddr 10.96.0.1 dnat to {0}
ip6 daddr fd96::1 dnat to {1}
}}
}}"""
"""What kube-proxy makes of a ClusterIP with one endpoint."""
NARROW = {
    Family.V4: (ip_interface("192.168.70.1/24"), ip_interface("192.168.70.254/24")),
    Family.V6: (ip_interface("fd70::1/64"), ip_interface("fd70::fe/64")),
}
"""A machine far beyond the nodes, and its router, which is the fabric."""
NARROW_MTU = 1300
POD_NETWORK = {Family.V4: "10.5.0.0/16", Family.V6: "fd00:5::/48"}
GATEWAY = {Family.V4: "192.168.50.1", Family.V6: "fd60::1"}
"""The first node's."""
Pair = tuple[Lab, Node, Node]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """IPv4 on eth0 alone, IPv6 on eth1 alone."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, CONFIG)
        lab.fabric.ip(
            "link add underlay6 type bridge forward_delay 0",
            "addr add fd60::fe/64 dev underlay6 nodad",
            "link set underlay6 up",
        )
        switches = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
        lab.fabric.must("sysctl", "-qw", *switches)
        nodes = [lab.add_node(name) for name in ("n1", "n2")]
        for number, node in enumerate(nodes, 1):
            cable(lab.fabric, f"six{number}", node.namespace, "eth1")
            lab.fabric.ip(f"link set six{number} master underlay6")
            node.namespace.must("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
            node.namespace.ip(
                f"addr add fd60::{number}/64 dev eth1 nodad",
                "route add default via fd60::fe dev eth1",
            )
        lab.start_nodes(*nodes)
        yield lab, nodes[0], nodes[1]


def test_each_family_has_its_own_interface_and_pods_what_fits_both(pair: Pair) -> None:
    """Whichever of the two is narrower now."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    assert one.status()["underlay"] == "eth0 192.168.50.1 mtu 1500, eth1 fd60::1 mtu 1500"
    assert all(here.ping(address, wait_s=5).ok for address in there.addresses)

    for link, outer, inner in (("eth1", 9000, 1450), ("eth0", 1400, 1350), ("eth1", 1410, 1340)):
        one.namespace.ip(f"link set {link} mtu {outer}")
        wait_for(lambda due=inner: here.link_mtu() == due, f"pods {inner}", timeout_s=30)  # type: ignore[misc]
    one.namespace.ip("link set eth0 mtu 1500", "link set eth1 mtu 1500")
    wait_for(lambda: here.link_mtu() == 1430, "pods 1430", timeout_s=30)


@pytest.mark.parametrize(
    "setting",
    [
        "--iface=192.168.50.1,fd60::1",
        "--iface=eth0,eth1",
        "--iface=eth.*",
        "--iface-can-reach=192.168.50.2",
        "--iface-can-reach=fd60::2,192.168.50.2",
    ],
)
def test_each_family_may_be_led_to_its_interface(pair: Pair, setting: str) -> None:
    """A target of one family leaves the other one its default route. The record says what is so, and a restart changes
    nothing."""
    lab, one, _two = pair
    key = next(key for key in flannel.leases(lab.etcd) if one.subnet.partition("/")[0] in key)
    one.stop_agent()
    one.start_agent(setting)
    one.wait_ready(peers=1)
    both = "eth0 192.168.50.1 mtu 1500, eth1 fd60::1 mtu 1500"
    wait_for(lambda: one.status()["underlay"] == both, both, timeout_s=20, also=one.log_tail)
    assert one.status()["changes"] == 0
    record = flannel.leases(lab.etcd)[key]
    assert (record["PublicIP"], record["PublicIPv6"]) == ("192.168.50.1", "fd60::1"), json.dumps(
        record
    )


def test_a_service_address_leads_to_a_pod_of_another_node(pair: Pair) -> None:
    """From a pod and from the node itself, in both families, with checksums left to the devices."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    one.namespace.run(["nft", "-f", "-"], stdin=SERVICE_RULES.format(*there.addresses))
    try:
        for address in there.addresses:
            server = Server(there.namespace, address, SERVICE[Family.of(address)])
            for client in (here.namespace, one.namespace):
                assert carries(client, server, within_s=10), (address, client)
    finally:
        one.namespace.must("nft", "delete", "table", "inet", "service")


@pytest.mark.parametrize("family", Family)
def test_who_sends_too_much_hears_of_it_on_both_sides_of_the_node(
    pair: Pair, family: Family
) -> None:
    """A pod, of a narrow link far beyond its node; somebody outside, of the room in the tunnel."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    far, router = NARROW[family]
    link, nodad = f"narrow{family.value}", " nodad" if family is Family.V6 else ""
    beyond = lab.add_space(f"beyond{family.value}")
    cable(lab.fabric, link, beyond, "eth0")
    lab.fabric.ip(
        f"link set {link} mtu {NARROW_MTU}",
        f"addr add {router} dev {link}{nodad}",
        f"route add {POD_NETWORK[family]} via {GATEWAY[family]}",
    )
    beyond.ip(
        f"link set eth0 mtu {NARROW_MTU}",
        f"addr add {far} dev eth0{nodad}",
        f"route add default via {router.ip}",
    )
    wait_for(lambda: here.ping(far.ip).ok, f"{far.ip} answers", timeout_s=30)

    headers = here.mtu - here.filling(family)
    said = here.ping(far.ip, payload=here.mtu - headers, whole=True).text
    assert f"mtu={NARROW_MTU}" in said.replace(" = ", "=")
    assert here.ping(far.ip, payload=NARROW_MTU - headers, whole=True, wait_s=5).ok
    for pod, room in ((here, (1430,)), (there, (1430, 1450))):
        target = next(it for it in pod.addresses if Family.of(it) is family)
        words = ["ping", "-n", "-c1", "-W2", "-M", "do", "-s", f"{1500 - headers}", str(target)]
        said = lab.fabric.run(words).out.replace(" = ", "=")
        assert f"From {GATEWAY[family]} " in said
        assert [mtu for mtu in room if f"mtu={mtu}" in said], said
