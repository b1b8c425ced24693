"""Debian's plugins chained after ours by Debian's libcni: each does its work, each is undone."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e import debianplugins, footprint
from e2e.etcdserver import NETWORK, PREFIX
from e2e.lab import Lab
from e2e.libcni import Attachment, Libcni
from e2e.netns import Namespace
from e2e.node import Node, wait_for
from e2e.pods import CniFailed, Pod
from e2e.process import Daemon
from e2e.servingpod import fetch_from

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HOST_PORT = 18099
RATE, BURST = 8_000_000, 8_000_000
"""Bits per second, and bits."""
MAC = "02:aa:bb:cc:dd:ee"

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
BANDWIDTH = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
TUNING = {"type": "tuning", "mac": MAC, "sysctl": {"net.core.somaxconn": "500"}}
FIREWALL = {"type": "firewall", "backend": "iptables"}
CHAINS: dict[str, tuple[dict[str, Any], ...]] = {
    "alone": (),
    "portmap": (PORTMAP,),
    "bandwidth": (BANDWIDTH,),
    "tuning": (TUNING,),
    "firewall": (FIREWALL,),
    "all": (PORTMAP, BANDWIDTH, TUNING, FIREWALL),
}
MAPPING = {
    "portMappings": [{"hostPort": HOST_PORT, "containerPort": 80, "protocol": "tcp"}],
}
SHAPING = {
    "bandwidth": {
        **{"ingressRate": RATE, "ingressBurst": BURST},
        **{"egressRate": RATE, "egressBurst": BURST},
    }
}


@dataclass(frozen=True, slots=True)
class Site:
    """Two nodes; libcni on the first."""

    lab: Lab
    one: Node
    two: Node
    libcni: Libcni
    attached: list[Attachment]

    def attach(self, network: str, **capabilities: object) -> Attachment:
        """A pod in the chain of that name; detached at the end of the test."""
        made = self.libcni.attachment(network, self.lab.bare_pod(self.one), **capabilities)
        self.attached.append(made)
        made.add()
        return made


@pytest.fixture(scope="module")
def standing(libcni_program: Path) -> Iterator[Site]:
    """One for the whole file."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", f"{PREFIX}/config", NETWORK)
        one, two = lab.add_node("n1"), lab.add_node("n2")
        debianplugins.link(one.runtime.bin_dir, "portmap", "bandwidth", "tuning", "firewall")
        lab.start_nodes(one, two)
        libcni = Libcni(libcni_program, one, one.work / "lists")
        for name, chain in CHAINS.items():
            libcni.write(name, chain)
        yield Site(lab, one, two, libcni, [])


@pytest.fixture
def site(standing: Site) -> Iterator[Site]:
    """The same, and the promise of every test here: DEL, twice, leaves nothing behind."""
    yield standing
    while standing.attached:
        attached = standing.attached.pop()
        attached.delete()
        attached.delete()
    assert footprint.of(standing.one) == []
    for pod in [*standing.lab.pods]:
        standing.lab.remove_pod(pod)


@contextmanager
def _serving(pod: Pod, directory: Path) -> Iterator[None]:
    """A web server in the pod that says the pod's name."""
    (directory / "index.html").write_text(pod.name)
    words: Sequence[str | Path] = ["busybox", "httpd", "-f", "-p", "80", "-h", directory]
    server = Daemon("httpd", pod.namespace.inside(words), directory / "log")
    try:
        wait_for(
            lambda: fetch_from(pod.namespace, "127.0.0.1") == pod.name, "httpd serves", timeout_s=20
        )
        yield
    finally:
        server.end()


def _queues(namespace: Namespace, kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(namespace.must("tc", "-j", "qdisc", "show"))
    return [row for row in rows if row["kind"] == kind]


def test_libcni_takes_our_conflist_and_knows_what_it_can(site: Site) -> None:
    """VALIDATE asks every plugin's VERSION; our own list is what the agent wrote."""
    shipped = Libcni(site.libcni.program, site.one, site.one.conf_dir)
    pod = site.lab.bare_pod(site.one)

    assert {*shipped.attachment("overlay", pod).validate()} == {"portMappings", "bandwidth"}
    assert {*site.libcni.attachment("all", pod).validate()} == {"portMappings", "bandwidth"}


def test_portmap_opens_a_host_port(site: Site, tmp_path: Path) -> None:
    """From outside, from the node, from its loopback, and from the pod itself."""
    pod = site.attach("portmap", **MAPPING).pod
    with _serving(pod, tmp_path):
        for namespace, address in (
            (site.two.namespace, site.one.address),
            (site.lab.fabric, site.one.address),
            (site.one.namespace, site.one.address),
            (site.one.namespace, "127.0.0.1"),
            (pod.namespace, site.one.address),
        ):
            assert fetch_from(namespace, address, HOST_PORT) == pod.name, (namespace, address)


def test_bandwidth_shapes_both_directions(site: Site) -> None:
    """A token bucket on the host's end and one on an ifb, at the rate that was asked for."""
    attached = site.attach("bandwidth", **SHAPING)

    queues = _queues(site.one.namespace, "tbf")
    assert [row["options"]["rate"] for row in queues] == [RATE // 8, RATE // 8]
    assert attached.pod.result["interfaces"][1]["name"] in [row["dev"] for row in queues]
    assert attached.pod.ping(site.two.vtep).ok

    attached.delete()
    assert _queues(site.one.namespace, "tbf") == []


def test_tuning_sets_sysctl_and_mac(site: Site) -> None:
    """The pod has them, and is reached by its new MAC from the other node."""
    pod = site.attach("tuning").pod

    assert pod.namespace.query("link", "show", "eth0")[0]["address"] == MAC
    assert pod.namespace.must("sysctl", "-n", "net.core.somaxconn").strip() == "500"
    assert site.lab.add_pod(site.two).ping(pod.address).ok


def test_firewall_lets_a_pod_through_a_closed_node(site: Site) -> None:
    """With FORWARD at DROP only a pod that firewall knows reaches others; DEL forgets it."""
    outside = site.lab.add_pod(site.two)
    site.one.namespace.must("iptables", "-P", "FORWARD", "DROP")
    try:
        closed = site.attach("alone")
        assert not closed.pod.ping(outside.address).ok
        closed.delete()

        opened = site.attach("firewall")
        assert opened.pod.ping(outside.address).ok
        opened.delete()
        assert footprint.of(site.one) == []
    finally:
        site.one.namespace.must("iptables", "-P", "FORWARD", "ACCEPT")


def test_the_whole_chain_at_once(site: Site, tmp_path: Path) -> None:
    """Host port, shaping, MAC and firewall of one pod; the fixture's DELs undo all of it."""
    pod = site.attach("all", **MAPPING, **SHAPING).pod

    assert len(_queues(site.one.namespace, "tbf")) == 2
    assert pod.namespace.query("link", "show", "eth0")[0]["address"] == MAC
    with _serving(pod, tmp_path):
        assert fetch_from(site.two.namespace, site.one.address, HOST_PORT) == pod.name


def test_del_without_the_namespace_undoes_the_whole_chain(site: Site) -> None:
    """The sandbox died first; prevResult comes from libcni's cache."""
    attached = site.attach("all", **MAPPING, **SHAPING)
    site.one.namespace.must("ip", "netns", "delete", attached.pod.namespace.name)

    attached.delete()
    assert footprint.of(site.one) == []
    assert _queues(site.one.namespace, "tbf") == []


@pytest.mark.parametrize("chain", CHAINS)
def test_check_passes_while_nothing_has_changed(site: Site, chain: str) -> None:
    """Ours looks at what the last plugin's result says, such as the MAC that tuning set."""
    # bandwidth 1.1.1 crashes in CHECK of a pod without limits: upstream's.
    attached = site.attach(chain, **(SHAPING if BANDWIDTH in CHAINS[chain] else {}))

    attached.check()
    attached.check()


def test_check_tells_what_was_taken_away(site: Site) -> None:
    """An address that somebody removed is named."""
    attached = site.attach("alone")
    address = str(attached.pod.address)
    attached.pod.namespace.ip("addr flush dev eth0")

    with pytest.raises(CniFailed, match=address):
        attached.check()


def test_if_check_fails_with_host_ports_it_is_portmaps_own_fault(site: Site) -> None:
    """portmap 1.1.1 looks for IPv6 rules of a pod without IPv6: upstream's, gone in later versions."""
    attached = site.attach("portmap", **MAPPING)

    said = "could not check ipv6 dnat"
    try:
        attached.check()
    except CniFailed as error:
        said = error.message
    assert "could not check ipv6 dnat" in said
