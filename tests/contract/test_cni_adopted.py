"""Pods that Debian's bridge and host-local attached before us: addresses held while they live, freed at DEL."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni import adopted, collect
from cni.adopted import TakeIn
from cni.ipam import Ipam
from overlay.netlink.namespace import run_inside
from tests.contract.cni_node import PLUGINS, V4, Node
from tests.contract.spaces import inside, ip, namespace

pytestmark = pytest.mark.contract


class Before:
    """A node in whose bridge flannel's delegate has attached pods."""

    def __init__(self, space: Path, home: Path) -> None:
        self.node = Node(space, home / "run")
        self.networks = home / "networks"

    def bridge(self, verb: str, pod: Path, container: str) -> dict[str, Any]:
        """One call of Debian's plugin."""
        config = {
            "cniVersion": "0.3.1",
            "name": "cbr0",
            "type": "bridge",
            "bridge": "overlay0",
            "mtu": 1450,
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.networks),
                "ranges": [[{"subnet": "10.5.1.0/24"}]],
            },
        }
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": str(pod),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": PLUGINS,
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            ["nsenter", f"--net={self.node.space}", f"{PLUGINS}/bridge"],
            input=json.dumps(config),
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer

    def take_in(self) -> TakeIn:
        """As the agent does before it writes the node page."""
        work = TakeIn(self.node.run_dir, "overlay0", (V4,), self.networks)
        return run_inside(self.node.space, lambda: work.run(doubtful=True))


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Before]:
    """Without pods."""
    with namespace() as space:
        yield Before(space, tmp_path)


@pytest.fixture
def pod() -> Iterator[Path]:
    """A pod's namespace."""
    with namespace() as space:
        yield space


def test_addresses_of_living_pods_are_held_and_leaked_files_are_not(
    before: Before, pod: Path
) -> None:
    """host-local's directory outlives reboots: a file whose pod is gone holds nothing back."""
    node = before.node
    got = before.bridge("ADD", pod, "c1")["ips"][0]["address"].partition("/")[0]
    leaked = "10.5.1.200"
    (before.networks / "cbr0" / leaked).write_text("dead\r\neth0")

    taken = before.take_in()

    assert taken.addresses == [got]
    assert taken.said == []
    assert node.addresses() == {got: "cbr0/c1@eth0:address-only"}
    assert node.journals() == ["cbr0/c1@eth0"]
    assert before.take_in().addresses == []
    assert run_inside(node.space, lambda: collect.survey(node.run_dir)) == []
    with namespace() as other:
        answer = node.add(other, container="c2")
        assert answer["ips"][0]["address"].partition("/")[0] != got
        nothing: dict[str, Any] = {"cni.dev/valid-attachments": []}
        assert node.call("GC", container="", ifname="", **nothing) == {}
        assert got in node.addresses()


def test_a_del_under_todays_name_ends_a_pod_of_yesterday(before: Before, pod: Path) -> None:
    """Link, our hold and host-local's file; another container's DEL touches nothing."""
    node = before.node
    got = before.bridge("ADD", pod, "c1")["ips"][0]["address"].partition("/")[0]
    before.take_in()

    node.call("DEL", pod, container="c2")
    assert (before.networks / "cbr0" / got).exists()
    assert "eth0" in ip(pod, "-o", "link")

    assert node.call("DEL", pod, container="c1") == {}
    assert not (before.networks / "cbr0" / got).exists()
    assert "eth0" not in ip(pod, "-o", "link")
    assert (node.addresses(), node.journals()) == ({}, [])
    assert node.call("DEL", pod, container="c1") == {}


def test_a_pod_that_its_own_plugin_took_down_is_found_gone(before: Before) -> None:
    """A runtime that remembers flannel's configuration never tells us; the namespace does."""
    node = before.node
    with namespace() as pod:
        before.bridge("ADD", pod, "c1")
        before.take_in()
        before.bridge("DEL", pod, "c1")
        assert run_inside(node.space, lambda: collect.survey(node.run_dir)) == []

    found = run_inside(node.space, lambda: collect.survey(node.run_dir))
    assert [item.place for item in found] == ["cbr0/c1@eth0"]


def test_an_address_without_a_file_is_held_under_the_ports_name(before: Before, pod: Path) -> None:
    """Somebody lost host-local's directory; a port that leads nowhere holds all that host-local says."""
    node = before.node
    got = before.bridge("ADD", pod, "c1")["ips"][0]["address"].partition("/")[0]
    (before.networks / "cbr0" / got).unlink()
    (before.networks / "cbr0" / "10.5.1.77").write_text("c7\neth0")
    (before.networks / "cbr0" / "10.5.1.78").symlink_to("/etc/hostname")
    (before.networks / "cbr0" / "10.6.1.1").write_text("c8\neth0")

    assert before.take_in().addresses == [got]
    assert node.addresses()[got].startswith("unnamed/veth")

    ip(node.space, "link", "add", "tap9", "type", "veth", "peer", "name", "tap9p")
    ip(node.space, "link", "set", "tap9", "master", "overlay0")
    taken = before.take_in()
    assert taken.addresses == ["10.5.1.77"]
    assert "tap9" in taken.said[0]
    assert node.call("DEL", "", container="c7") == {}
    assert list(node.addresses()) == [got]


def test_a_pod_that_bridge_attached_with_our_addresses_is_known(before: Before, pod: Path) -> None:
    """ipam type "overlay" under another plugin: one attachment, one hold, nothing to say."""
    node = before.node
    answer = node.call("ADD", pod, container="c1", type="bridge", ipam={"type": "overlay"})
    got = answer["ips"][0]["address"]
    ip(node.space, *f"link add v1 type veth peer name eth0 netns {pod.name}".split())
    ip(node.space, "link", "set", "v1", "up", "master", "overlay0")
    ip(pod, "addr", "add", got, "dev", "eth0")

    taken = before.take_in()
    assert (taken.addresses, taken.said) == ([], [])
    assert node.journals() == ["overlay/c1@eth0"]


def test_nothing_is_taken_in_where_no_foreign_port_is(before: Before) -> None:
    """After a reboot host-local's files are still there, their pods are not."""
    (before.networks / "cbr0").mkdir(parents=True)
    (before.networks / "cbr0" / "10.5.1.2").write_text("dead\r\neth0")

    assert before.take_in().addresses == []
    assert before.node.addresses() == {}


def test_host_local_is_told_of_our_pods_before_a_hand_back(before: Before, pod: Path) -> None:
    """Its plugin then gives other addresses; told twice is told once."""
    node, directory = before.node, before.networks / "cbr0"
    ours = node.add(pod, container="c1")["ips"][0]["address"].partition("/")[0]

    assert adopted.export(node.run_dir, directory) == [ours]
    assert adopted.export(node.run_dir, directory) == []
    with namespace() as other:
        assert not before.bridge("ADD", other, "c2")["ips"][0]["address"].startswith(f"{ours}/")
    assert Ipam(node.run_dir).held()[ours] == "overlay/c1@eth0"
    assert inside(node.space, "cat", str(directory / ours)).split() == ["c1", "eth0"]
