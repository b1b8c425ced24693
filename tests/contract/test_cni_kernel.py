"""CNI on a real kernel: a pod comes, talks, and goes without a trace, whatever went wrong."""

import json
import threading
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from cni.standing import NO_AGENT
from overlay.nodefile import NodeFamily
from tests.contract import spaces
from tests.contract.cni_node import NOTHING, Node
from tests.contract.spaces import difference, inside, ip, picture

pytestmark = pytest.mark.contract


@pytest.mark.row("18", "31")
def test_a_pod_comes_pings_and_goes_without_a_trace(node: Node, pod: Path) -> None:
    """ADD → ping → DEL leaves both namespaces exactly as they were."""
    ip(pod, "link", "set", "lo", "up")  # as a runtime's loopback plugin does
    before = picture(node.space), picture(pod)

    result = node.call("ADD", pod)
    inside(pod, "ping", "-c1", "-W9", "10.5.1.1")
    assert result["ips"] == [
        {"address": "10.5.1.2/24", "gateway": "10.5.1.1", "interface": 2},
    ]
    assert "mtu 1450" in ip(pod, "link", "show", "eth0")
    assert "default via 10.5.1.1 dev eth0" in ip(pod, "route")

    assert node.call("DEL", pod) == {}
    assert difference(before[0], picture(node.space)) == []
    assert difference(before[1], picture(pod)) == []
    assert node.left() == NOTHING


def test_a_pods_bridge_port_sends_back_where_it_came_from(node: Node, pod: Path) -> None:
    """A pod reaches itself through its own host port or service address."""
    node.call("ADD", pod)

    links = json.loads(ip(node.space, "-j", "-d", "link", "show", "master", "overlay0"))
    assert [link["linkinfo"]["info_slave_data"]["hairpin"] for link in links] == [True]


@pytest.mark.row("34", "35", "36", "R10")
def test_del_succeeds_with_nothing_left_to_do(node: Node, pod: Path) -> None:
    """Twice, without an ADD, with an empty and with a vanished space."""
    node.call("ADD", pod)

    for netns in (str(pod), "", "/run/netns/gone"):
        assert node.call("DEL", netns) == {}
    assert node.call("DEL", pod, container="never-added") == {}
    assert node.left() == NOTHING


@pytest.mark.row("34", "R10")
def test_a_pod_whose_namespace_is_gone_gives_its_address_back(node: Node) -> None:
    """After the sandbox died the runtime knows no netns any more."""
    with spaces.namespace() as pod:
        node.call("ADD", pod)
    assert node.left() != NOTHING

    assert node.call("DEL", "") == {}
    assert node.left() == NOTHING


@pytest.mark.row("7", "29")
def test_an_unknown_netns_is_named_and_nothing_is_left(node: Node) -> None:
    """Code 4 with the path."""
    error = node.call("ADD", "/run/netns/none")

    assert (error["code"], node.left()) == (4, NOTHING)
    assert "CNI_NETNS=/run/netns/none" in str(error["msg"])


@pytest.mark.row("20")
def test_an_interface_that_exists_is_an_error_and_stays(node: Node, pod: Path) -> None:
    """The plugin never takes over somebody's eth0."""
    ip(pod, "link", "add", "eth0", "type", "veth", "peer", "name", "x0")
    before = picture(node.space)

    error = node.call("ADD", pod)

    assert "already has an interface eth0" in str(error["msg"])
    assert difference(before, picture(node.space)) == []
    assert node.left() == NOTHING
    assert "eth0" in ip(pod, "link")


@pytest.mark.row("28")
def test_a_second_add_is_refused_and_the_first_pod_keeps_its_address(node: Node, pod: Path) -> None:
    """A runtime's fault must not leak the first address."""
    node.call("ADD", pod)

    assert "attached already" in str(node.call("ADD", pod)["msg"])
    inside(pod, "ping", "-c1", "-W9", "10.5.1.1")


def test_an_mtu_that_cannot_fit_names_both_numbers(node: Node, pod: Path) -> None:
    """And one that fits is honoured."""
    error = node.call("ADD", pod, mtu=1500)
    assert (error["code"], "1500" in str(error["msg"]), "1450" in str(error["msg"])) == (
        7,
        True,
        True,
    )

    node.call("ADD", pod, mtu=1440)
    assert "mtu 1440" in ip(pod, "link", "show", "eth0")


def test_a_subnet_that_is_used_up_says_so(space: Path, tmp_path: Path) -> None:
    """A /30 has one pod address."""
    small = NodeFamily(ip_interface("10.5.1.1/30"), ip_network("10.5.0.0/16"))
    node = Node(space, tmp_path, (small,))
    with spaces.namespace() as first, spaces.namespace() as second:
        node.call("ADD", first, container="a")
        before = node.left()
        error = node.call("ADD", second, container="b")

        assert "no free address in 10.5.1.0/30: 1 are held" in str(error["msg"])
        assert node.left() == before


@pytest.mark.row("9")
def test_no_node_page_is_code_11_with_the_cause(space: Path, tmp_path: Path, pod: Path) -> None:
    """The runtime tries again; the operator reads why."""
    node = Node(space, tmp_path)
    (tmp_path / "node.json").unlink()

    error = node.call("ADD", pod, standing=NO_AGENT)

    assert error["code"] == 11
    assert "overlay-agent" in str(error["msg"])


@pytest.mark.row("16", "R15")
def test_twenty_pods_at_once_get_twenty_addresses_and_leave_nothing(node: Node) -> None:
    """Concurrent ADDs and DELs share no lock and no address."""
    before = picture(node.space)
    results: list[dict[str, Any]] = []

    def live(number: int) -> None:
        with spaces.namespace() as pod:
            results.append(node.call("ADD", pod, container=f"c{number}"))
            barrier.wait(timeout=30)
            node.call("DEL", pod, container=f"c{number}")

    barrier = threading.Barrier(20)
    threads = [threading.Thread(target=live, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({json.dumps(result["ips"]) for result in results}) == 20
    assert difference(before, picture(node.space)) == []
    assert node.left() == NOTHING
