"""podman on its CNI backend: containers in networks of ours, host ports, chosen addresses, reload."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e import debianplugins, footprint
from e2e.etcdserver import NETWORK, PREFIX
from e2e.images import Images
from e2e.lab import Lab
from e2e.node import Node
from e2e.podman import Podman
from e2e.process import CommandFailed
from e2e.servingpod import fetch_from

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HOST_PORT = 18088
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}


@dataclass(frozen=True, slots=True)
class Site:
    """podman on the first of two nodes."""

    lab: Lab
    one: Node
    two: Node
    podman: Podman

    def address(self, last: int) -> str:
        """An address of the first node's subnet."""
        return f"{self.one.vtep.rpartition('.')[0]}.{last}"


@pytest.fixture(scope="module")
def standing(built_images: Images) -> Iterator[Site]:
    """One for the whole file."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", f"{PREFIX}/config", NETWORK)
        one, two = lab.add_node("n1"), lab.add_node("n2")
        debianplugins.link(one.runtime.bin_dir, "portmap")
        lab.start_nodes(one, two)
        podman = Podman(lab, one, built_images)
        podman.add_network("blue", PORTMAP)
        podman.add_network("green", mtu=1400)
        yield Site(lab, one, two, podman)


@pytest.fixture
def site(standing: Site) -> Iterator[Site]:
    """The same, and the promise of every test here: its containers leave nothing behind."""
    yield standing
    standing.podman.close()
    assert footprint.of(standing.one) == []


def test_containers_talk_on_the_node_and_across(site: Site) -> None:
    """The address podman tells is the kernel's, and a pod of another node reaches it."""
    web = site.podman.run("web", networks=["blue"])
    other = site.podman.run("other", networks=["blue"])
    far = site.lab.add_pod(site.two)

    address = web.address("blue")
    assert web.kernel_addresses()["eth0"] == (web.mac("blue"), address)
    assert other.fetch(address) == "web"
    assert fetch_from(far.namespace, address) == "web"
    assert web.exec("cat", "/sys/class/net/eth0/mtu").out.strip() == "1450"


def test_a_published_port_is_reached_from_everywhere(site: Site) -> None:
    """From the other node, the node itself, its loopback, and the container itself."""
    web = site.podman.run("web", "--publish", f"{HOST_PORT}:80", networks=["blue"])
    node = site.one.address

    assert fetch_from(site.two.namespace, node, HOST_PORT) == "web"
    assert fetch_from(site.one.namespace, node, HOST_PORT) == "web"
    assert fetch_from(site.one.namespace, "127.0.0.1", HOST_PORT) == "web"
    assert web.fetch(node, HOST_PORT) == "web"  # hairpin


def test_a_networks_own_mtu_is_kept(site: Site) -> None:
    """Smaller than the overlay's, as its conflist says."""
    web = site.podman.run("web", networks=["green"])

    assert web.exec("cat", "/sys/class/net/eth0/mtu").out.strip() == "1400"


def test_containers_come_and_go_while_the_agent_is_dead(site: Site) -> None:
    """podman asks VERSION, ADD and DEL of the plugin alone."""
    old = site.podman.run("old", networks=["blue"])
    site.one.kill_agent()
    try:
        late = site.podman.run("late", networks=["blue"])
        assert late.fetch(old.address("blue")) == "old"
        old.remove()
        late.remove()
        assert footprint.of(site.one) == []
    finally:
        site.lab.start_nodes(site.one)


def test_a_chosen_address_is_given(site: Site) -> None:
    """`--ip`, which podman sends as CNI_ARGS IP=."""
    web = site.podman.run("web", "--ip", site.address(77), networks=["blue"])

    assert web.kernel_addresses()["eth0"][1] == web.address("blue") == site.address(77)
    other = site.podman.run("other", networks=["blue"])
    assert other.fetch(site.address(77)) == "web"


def test_a_chosen_mac_is_given(site: Site) -> None:
    """`--mac-address`, which podman sends as CNI_ARGS MAC=."""
    web = site.podman.run("web", "--mac-address", "02:11:22:33:44:55", networks=["blue"])

    assert web.kernel_addresses()["eth0"][0] == web.mac("blue") == "02:11:22:33:44:55"


def test_an_address_that_is_taken_is_refused_and_nothing_leaks(site: Site) -> None:
    """Whoever has it keeps it, also across network names; the refusal names the address."""
    first = site.podman.run("first", "--ip", site.address(88), networks=["blue"])

    for network in ("blue", "green"):
        with pytest.raises(CommandFailed, match=site.address(88)):
            site.podman.run(f"second-{network}", "--ip", site.address(88), networks=[network])
    assert first.exec("true").code == 0
    first.remove()
    assert footprint.of(site.one) == []


def test_two_networks_at_once(site: Site) -> None:
    """Two interfaces with two addresses; each answers to a container of its network."""
    both = site.podman.run("both", networks=["blue", "green"])
    other = site.podman.run("other", networks=["blue"])

    inside = both.kernel_addresses()
    assert {*inside} == {"eth0", "eth1"}
    assert {address for _, address in inside.values()} == {
        both.address("blue"),
        both.address("green"),
    }
    assert both.address("blue") != both.address("green")
    assert other.fetch(both.address("blue")) == "both"
    assert other.fetch(both.address("green")) == "both"


def test_reload_gives_the_same_address_again(site: Site) -> None:
    """`network reload` is DEL, then ADD with runtimeConfig.ips that names the address twice."""
    web = site.podman.run("web", "--publish", f"{HOST_PORT}:80", networks=["blue"])
    before = web.kernel_addresses()

    site.podman.must("network", "reload", "web")

    assert web.kernel_addresses() == before
    assert fetch_from(site.two.namespace, site.one.address, HOST_PORT) == "web"
