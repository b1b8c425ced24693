"""DEL on a real kernel: whatever happened before, nothing is left, and nobody else loses anything."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cni.owner import Owner
from cni.standing import NO_AGENT
from tests.contract import spaces
from tests.contract.cni_node import NOTHING, OWNER, Node
from tests.contract.spaces import inside, ip

pytestmark = pytest.mark.contract


def _journal(node: Node) -> Path:
    return node.run_dir / "attachments" / f"{OWNER.place}.json"


@pytest.mark.row("31", "35", "R10")
def test_nothing_is_left_of_either_end(dual: Node, pod: Path) -> None:
    """Link, addresses, record; again and without a namespace is success as well."""
    dual.add(pod)
    for netns in (str(pod), str(pod), ""):
        assert dual.call("DEL", netns) == {}
        assert dual.left() == NOTHING
    assert "eth0" not in ip(pod, "link")


@pytest.mark.row("32", "R10")
def test_container_and_interface_are_enough(node: Node, pod: Path) -> None:
    """No namespace, no CNI_ARGS, no CNI_PATH: the link and the address still go."""
    node.add(pod)
    assert node.call("DEL", environ={"CNI_ARGS": "", "CNI_PATH": ""}) == {}
    assert node.left() == NOTHING


@pytest.mark.row("34", "52", "R10")
def test_after_a_reboot_the_run_directory_is_empty(node: Node) -> None:
    """Neither page nor record; and no agent either."""
    shutil.rmtree(node.run_dir)
    assert node.call("DEL", "", standing=NO_AGENT) == {}
    assert node.call("DEL", "/run/netns/gone", container="never") == {}


@pytest.mark.row("34", "R10")
def test_a_record_of_another_boot_is_undone(node: Node, pod: Path) -> None:
    """Where the run directory outlived the machine."""
    node.add(pod)
    record = json.loads(_journal(node).read_text())
    _journal(node).write_text(json.dumps({**record, "boot": "another"}))
    ip(node.space, "link", "del", OWNER.host_link)
    assert node.call("DEL", "") == {}
    assert node.left() == NOTHING


@pytest.mark.row("34", "80")
@pytest.mark.parametrize(
    "spoil", ["record torn", "record gone", "address gone", "link gone", "page gone"]
)
def test_what_is_left_of_the_state_is_enough(node: Node, pod: Path, spoil: str) -> None:
    """Each of the four places may be lost alone."""
    node.add(pod)
    match spoil:
        case "record torn":
            _journal(node).write_bytes(_journal(node).read_bytes()[:40])
        case "record gone":
            _journal(node).unlink()
        case "address gone":
            (node.run_dir / "ipam" / "10.5.1.2").unlink()
        case "link gone":
            ip(node.space, "link", "del", OWNER.host_link)
        case "page gone":
            (node.run_dir / "node.json").unlink()
    assert node.call("DEL", pod) == {}
    assert node.left() == NOTHING


@pytest.mark.row("36", "29")
def test_after_a_failed_add(node: Node, pod: Path) -> None:
    """Refused for its MTU, for its namespace, for its configuration: then DEL, twice."""
    for netns, config in ((pod, {"mtu": 9000}), ("/run/netns/none", {}), (pod, {"bridge": "br9"})):
        assert "code" in node.call("ADD", netns, **config)
        assert node.left() == NOTHING
        assert node.call("DEL", netns, **config) == {}


@pytest.mark.row("38")
def test_another_container_of_the_same_pod_name_keeps_everything(
    node: Node, pod: Path, other: Path
) -> None:
    """A pod that was made anew before its old sandbox was cleaned up; the key is container and interface."""
    node.add(pod, container="old")
    node.add(other, container="new")
    assert node.call("DEL", pod, container="old") == {}
    assert node.journals() == ["overlay/new@eth0"]
    inside(other, "ping", "-c1", "-W9", "10.5.1.1")


@pytest.mark.row("38", "34")
def test_a_del_in_another_network_frees_nothing_whose_record_is_torn(
    node: Node, pod: Path, other: Path
) -> None:
    """The same container and interface; the pod lives, and the next one gets an address of its own."""
    node.add(pod)
    _journal(node).write_text("{")
    assert node.call("DEL", pod, name="blue") == {}
    assert list(node.addresses().values()) == [OWNER.place]
    assert node.call("ADD", other, container="c2", runtimeConfig={"ips": ["10.5.1.2"]})["code"]
    assert node.call("DEL", pod) == {}
    assert node.left() == NOTHING


@pytest.mark.row("38", "16")
def test_each_interface_of_a_container_is_its_own(node: Node, pod: Path) -> None:
    """Also one whose name has an @, as the kernel allows."""
    for name in ("eth0", "eth1", "a@b"):
        node.add(pod, ifname=name)
    assert node.call("DEL", pod, ifname="eth0") == {}
    assert node.journals() == ["overlay/c1@a@b", "overlay/c1@eth1"]
    assert node.call("DEL", pod, ifname="a@b") == {}
    assert node.call("DEL", pod, ifname="eth1") == {}
    assert node.left() == NOTHING


@pytest.mark.row("R5", "78")
def test_the_configuration_of_the_day_does_not_matter(node: Node, pod: Path) -> None:
    """Only its name and version are read: DEL goes by the record."""
    node.add(pod, mtu=1400)
    changed: dict[str, Any] = {
        "mtu": "x",
        "bridge": 7,
        "ipam": {"type": "../evil"},
        "type": "/bin/sh",
        "dns": 1,
    }
    assert node.call("DEL", pod, cniVersion="0.3.1", **changed) == {}
    assert node.left() == NOTHING


@pytest.mark.row("78")
def test_an_attachment_of_the_first_version_is_undone(node: Node, pod: Path) -> None:
    """Its addresses lay in a directory of the network; its record has no inode, boot or bridge."""
    node.add(pod)
    record = json.loads(_journal(node).read_text())
    kept = ("network", "container", "ifname", "netns", "host_link", "addresses", "mac", "created")
    _journal(node).write_text(json.dumps({key: record[key] for key in kept}))
    (node.run_dir / "ipam" / "10.5.1.2").unlink()
    old = node.run_dir / "ipam" / "overlay"
    old.mkdir()
    (old / "10.5.1.2").symlink_to("c1@eth0")
    assert node.call("DEL", pod) == {}
    assert list(old.iterdir()) == []
    assert (node.links(), node.journals()) == ([], [])


@pytest.mark.row("R11", "31")
def test_a_del_that_failed_can_be_told_from_one_that_succeeded(node: Node, pod: Path) -> None:
    """The message has none of the words that runtimes take for a success, and the state is kept."""
    node.add(pod)
    ip(node.space, "link", "set", OWNER.host_link, "alias", "not found: no such file or directory")
    error = node.call("DEL", "")
    assert "not found" not in json.dumps(error)
    assert "no such file or directory" not in json.dumps(error).lower()
    assert node.journals() == [OWNER.place]
    ip(node.space, "link", "set", OWNER.host_link, "alias", OWNER.alias)
    assert node.call("DEL", "") == {}


@pytest.mark.row("38")
def test_a_path_that_is_somebody_elses_by_now_costs_nobody_a_link(node: Node, pod: Path) -> None:
    """The old pod's namespace is gone, another pod of ours lives under its path."""
    with spaces.namespace() as dead:
        node.add(dead, container="old")
    node.add(pod, container="new")
    assert node.call("DEL", pod, container="old") == {}
    assert node.links() == [Owner("overlay", "new", "eth0").host_link]
    assert list(node.addresses().values()) == ["overlay/new@eth0"]
