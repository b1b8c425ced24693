"""CNI on a real kernel: failing, overtaken and contradicting calls leave nothing behind."""

import threading
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from cni import lock, main
from cni.steps import Steps
from overlay.netlink.namespace import run_inside
from overlay.nodefile import NodeFamily
from tests.contract import spaces
from tests.contract.cni_node import NOTHING, OWNER, V4, V6, Node, shown
from tests.contract.spaces import inside, ip

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("families", [(V6,), (V4, V6)], ids=["IPv6", "both"])
def test_every_family_is_served_by_the_same_code(
    space: Path, pod: Path, tmp_path: Path, families: tuple[NodeFamily, ...]
) -> None:
    """The pod reaches each gateway at once: no duplicate address detection is waited for."""
    node = Node(space, tmp_path, families)
    result = node.call("ADD", pod)

    assert [ip["gateway"] for ip in result["ips"]] == [str(item.gateway.ip) for item in families]
    assert [ip["version"] for ip in result["ips"] if "version" in ip] == []
    for family in families:
        inside(pod, "ping", "-c1", "-W9", str(family.gateway.ip))
    assert [link["ifname"] for link in shown(pod, "link show dev eth0")] == ["eth0"]
    assert node.call("DEL", pod) == {}
    assert node.left() == NOTHING


@pytest.mark.row("23", "24", "25", "R25")
def test_the_result_is_what_the_kernel_has(node: Node, pod: Path) -> None:
    """Names, MACs and MTUs of the three interfaces, read back by iproute2."""
    result = node.call("ADD", pod, mtu=1400)

    seen = {
        link["ifname"]: link
        for link in [*shown(node.space, "link show"), *shown(pod, "link show dev eth0")]
    }
    for interface in result["interfaces"]:
        link = seen[interface["name"]]
        assert (interface["mac"], interface["mtu"]) == (link["address"], link["mtu"])
    assert [item["sandbox"] for item in result["interfaces"]] == ["", "", str(pod)]
    host = seen[OWNER.host_link]
    assert (host["master"], host["ifalias"]) == ("overlay0", OWNER.alias)
    assert shown(pod, "route show default")[0]["gateway"] == "10.5.1.1"


@pytest.mark.row("29")
@pytest.mark.parametrize(
    "spoil",
    [
        "link add {host} type bridge",  # the pair cannot be made
        "link delete overlay0",  # nothing to put it into
    ],
)
def test_an_add_whose_kernel_step_fails_leaves_nothing(node: Node, pod: Path, spoil: str) -> None:
    """One clear error, no link, no address, no journal; a foreign link stays."""
    ip(node.space, *spoil.format(host=OWNER.host_link).split())
    foreign = node.left()[0]

    error = node.call("ADD", pod)

    assert error["msg"]
    assert node.left() == (foreign, [])
    assert [link["ifname"] for link in shown(pod, "link show")] == ["lo"]


@pytest.mark.row("29", "36")
def test_a_step_inside_the_pod_that_fails_takes_the_link_back(
    space: Path, pod: Path, tmp_path: Path
) -> None:
    """The last step fails: no interface may have a multicast address, which a corrupt page made the pod's."""
    node = Node(space, tmp_path, (V4, V6))
    node.families = (V4, NodeFamily(ip_interface("ff05::1/64"), ip_network("ff05::/56")))
    node.publish(mtu=1450)
    before = shown(pod, "link show")

    error = node.call("ADD", pod)

    assert error["code"] == 100
    assert node.left() == NOTHING
    assert {link["ifname"] for link in shown(pod, "link show")} == {
        link["ifname"] for link in before
    }
    assert node.call("DEL", pod) == {}


@pytest.mark.row("16")
def test_a_del_that_overtakes_its_add_waits_and_leaves_nothing(node: Node, pod: Path) -> None:
    """A runtime that gave up sends a DEL while the agent is still at work on the ADD."""
    answers: list[dict[str, Any]] = []
    with lock.held(node.run_dir, OWNER.place, Steps()):  # stands for the ADD at work
        late = threading.Thread(target=lambda: answers.append(node.call("DEL", pod)))
        late.start()
        late.join(0.1)
        assert late.is_alive()
        (node.run_dir / "ipam").mkdir(parents=True)
        (node.run_dir / "ipam" / "10.5.1.9").symlink_to(OWNER.place)
    late.join(30)

    assert answers == [{}]
    assert node.left() == NOTHING


def test_a_renamed_host_end_is_found_from_inside_the_pod(node: Node, pod: Path) -> None:
    """By the MAC in the journal, so that a reused path never costs another pod its link."""
    node.call("ADD", pod)
    ip(node.space, *f"link set {OWNER.host_link} down".split())
    ip(node.space, *f"link set {OWNER.host_link} name renamed0".split())

    assert node.call("DEL", pod) == {}

    assert "renamed0" not in [link["ifname"] for link in shown(node.space, "link show")]
    assert node.left() == NOTHING


@pytest.mark.row("38")
def test_a_reused_path_does_not_cost_the_new_pod_its_link(node: Node, pod: Path) -> None:
    """A late DEL of a dead container names a netns in which somebody else lives now."""
    with spaces.namespace() as dead:
        node.call("ADD", dead)
    ip(pod, *["link", "add", "eth0", "type", "veth", "peer", "name", "x0"])

    assert node.call("DEL", pod) == {}

    assert "eth0" in [link["ifname"] for link in shown(pod, "link show")]
    assert node.left() == NOTHING


def test_a_link_with_a_foreign_mark_is_reported_and_stays(node: Node, pod: Path) -> None:
    """Delete only what bears our mark; the message has the command that shows it."""
    ip(node.space, *f"link add {OWNER.host_link} type bridge".split())
    ip(node.space, *f"link set {OWNER.host_link} alias somebody:else".split())

    error = node.call("DEL", pod)

    assert f"ip -d link show {OWNER.host_link}" in error["details"]
    assert node.left()[0] == [OWNER.host_link]


def test_the_hosts_own_namespace_is_no_pod(node: Node) -> None:
    """A default route in there would cut the host off."""
    error = node.call("ADD", node.space)
    assert (error["code"], node.left()) == (4, NOTHING)
    assert "host's own" in error["msg"]


def test_a_file_that_is_no_namespace_is_named(node: Node, tmp_path: Path) -> None:
    """Code 4 with the path, for a plain file as for a directory."""
    error = node.call("ADD", tmp_path)
    assert (error["code"], node.left()) == (4, NOTHING)
    assert str(tmp_path) in error["msg"]


@pytest.mark.row("15", "70")
@pytest.mark.parametrize(
    ("key", "value"), [("bridge", "docker0"), ("ipMasq", False), ("runDir", "/elsewhere")]
)
def test_a_contradiction_to_the_agent_names_both(
    node: Node,
    pod: Path,
    key: str,
    value: Any,  # noqa: ANN401 - any JSON
) -> None:
    """Error 7, never silence."""
    error = node.call("ADD", pod, **{key: value})
    assert (error["code"], node.left()) == (7, NOTHING)
    assert str(value) in error["msg"]
    assert key in error["msg"]


def test_an_mtu_too_small_for_ipv6_is_refused(space: Path, pod: Path, tmp_path: Path) -> None:
    """Below 1280 the kernel would switch IPv6 off without a word."""
    node = Node(space, tmp_path, (V4, V6))
    error = node.call("ADD", pod, mtu=1200)
    assert (error["code"], node.left()) == (7, NOTHING)
    assert "1280" in error["msg"]


@pytest.mark.row("17")
def test_calls_do_not_leave_their_thread_elsewhere(node: Node, pod: Path) -> None:
    """The agent's threads stay in the node's namespace, whatever the call did in the pod's."""

    def where() -> tuple[int, int]:
        before = Path("/proc/thread-self/ns/net").stat().st_ino
        environ = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "c2",
            "CNI_NETNS": str(pod),
            "CNI_IFNAME": "eth0",
        }
        main.run(environ, b'{"cniVersion":"1.0.0","name":"overlay"}', node.run_dir)
        return before, Path("/proc/thread-self/ns/net").stat().st_ino

    before, after = run_inside(node.space, where)
    assert before == after
