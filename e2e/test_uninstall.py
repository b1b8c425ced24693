"""overlayctl uninstall: the namespace is byte for byte what it was before the agent's first start."""

import json
import signal
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.cut import cut_off
from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.lab import MEMORY, Lab
from e2e.netns import difference, picture
from e2e.node import VENV_BIN, Node, wait_for
from e2e.ownfiles import OwnFiles
from e2e.process import Daemon, Said
from e2e.sidebyside import add_agent
from overlay.family import Family

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

IPV6 = {"EnableIPv6": True, "IPv6Network": "fd00:5::/48"}
BLUE = '{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan","VNI":2,"DirectRouting":true}}'
THEIRS = b"#!/bin/false\n"
ORPHAN = (
    "link add ovlfeedfeedfeed type veth peer name orphan",
    "link set ovlfeedfeedfeed alias overlay:overlay/feed/eth0",
)
"""A pod's host end that lost its journal and its bridge."""
_BY_ITSELF = ("nf_conntrack_count", "/random/", "stat_refresh")


def whole(node: Node) -> dict[str, list[str]]:
    """`picture`, and every switch of the namespace."""
    return {**picture(node.namespace), "sysctls": sysctls(node)}


def settled(node: Node) -> dict[str, list[str]]:
    """The same once duplicate address detection is over, which changes link-local addresses by itself."""

    def over() -> bool:
        rows = node.namespace.query("addr", "show", "dev", "eth0")
        found = [it for row in rows for it in row["addr_info"] if it["family"] == "inet6"]
        return bool(found) and not [it for it in found if it.get("tentative")]

    wait_for(over, "link-local address", timeout_s=30)
    return whole(node)


def sysctls(node: Node) -> list[str]:
    """All net.* as the kernel prints them; those of devices that are gone are absent by themselves."""
    lines = node.namespace.run(["sysctl", "-a", "-r", "^net[.]"]).out.splitlines()
    return [line for line in lines if not any(name in line for name in _BY_ITSELF)]


@dataclass(frozen=True, slots=True)
class Machine:
    """A node with files of its own, and what it was before anything of ours was on it."""

    node: Node
    files: OwnFiles
    before: dict[str, list[str]]

    def overlayctl(self, verb: str, *flags: str) -> Said:
        """With the node's own settings, unless they are installed."""
        words: list[str | Path] = [VENV_BIN / "overlayctl", verb, *self.settings(), *flags]
        return self.files.run(words)

    def settings(self) -> list[str]:
        """None once they are where they belong."""
        installed = (self.files.upper / "-etc/overlay/agent.toml").exists()
        return [] if installed else ["--config", str(self.node.config_file)]

    def uninstall(self, *flags: str) -> tuple[int, dict[str, Any]]:
        """Its exit code and answer."""
        said = self.overlayctl("uninstall", "--output", "json", *flags)
        assert said.out, said.err
        return said.code, json.loads(said.out)

    def install(self) -> None:
        """With the settings that its agent is started with, in the place of another program of our plugin's name."""
        self.plugin.write_bytes(THEIRS)
        given = tomllib.loads(self.node.config_file.read_text())
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
        words: list[str | Path] = [
            VENV_BIN / "overlayctl",
            "install",
            "--no-start",
            "--force",
            *flags,
        ]
        said = self.files.run(words)
        assert said.code == 0, said.err
        assert "/etc/systemd/system/overlay-agent.service" in said.out
        unfinished = self.plugin.with_name(".overlay.0123456789ab.overlay-install")
        unfinished.touch()  # as an installation leaves it that is killed
        net_d = self.node.work / "net.d"
        net_d.mkdir(exist_ok=True)
        (net_d / ".10-overlay.conflist.0123456789ab.tmp").touch()  # and an agent

    @property
    def plugin(self) -> Path:
        """The CNI executable."""
        return self.node.runtime.bin_dir / "overlay"

    def see_that_nothing_is_left(self) -> None:
        """Kernel, switches, rules, run and state directory, and the machine's own directories."""
        found = difference(self.before, whole(self.node))
        assert found == [], "\n".join(found)
        rooms = ("run", "state", "net.d")
        assert not [path for room in rooms for path in (self.node.work / room).glob("*")]
        assert self.files.differing() == []


@dataclass(frozen=True, slots=True)
class Field:
    """A lab, of both families, with one node that stays, and two that are taken away."""

    lab: Lab
    stays: Node
    one: Machine
    two: Machine

    def has_lease(self, subnet: str) -> bool:
        """Whether etcd has one of that subnet."""
        listed = self.lab.etcd.ctl("get", "--prefix", "--keys-only", "/coreos.com/network/subnets")
        return f"/{subnet.replace('/', '-')}&" in listed


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    """All ready; made once."""
    with Lab(root=MEMORY, families=tuple(Family)) as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, json.dumps({**json.loads(NETWORK), **IPV6}))
        nodes = [lab.add_node(name) for name in ("n1", "n2", "n3")]
        one, two = (Machine(it, OwnFiles(it), settled(it)) for it in nodes[1:])
        two.install()
        lab.start_nodes(*nodes)
        yield Field(lab, nodes[0], one, two)


def test_forced_with_pods_it_leaves_nothing(field: Field) -> None:
    """Refused without force, said by a dry run; then kernel, files and etcd are as before, and others as they were."""
    lab, one, node = field.lab, field.one, field.one.node
    pods = [lab.add_pod(node) for _ in range(3)]
    assert pods[0].ping(lab.add_pod(field.stays).address, count=2, wait_s=3).ok
    subnet = node.subnet
    node.namespace.ip(*ORPHAN)

    refused = one.overlayctl("uninstall")
    assert (refused.code, "4 pods" in refused.err) == (1, True), refused.err
    code, plan = one.uninstall("--dry-run")
    assert code == 0
    wanted = ["conflist", "service", "pods", "kernel", "switches", "lease", "files"]
    assert list(dict.fromkeys(step["stage"] for step in plan["steps"])) == wanted
    assert node.status()["verdict"] == "healthy"

    code, answer = one.uninstall("--force")

    assert (code, answer["residue"]) == (0, [])
    one.see_that_nothing_is_left()
    assert not one.plugin.exists()
    assert not field.has_lease(subnet)
    assert field.has_lease(field.stays.subnet)
    code, answer = one.uninstall()
    assert (code, answer["residue"], answer["steps"]) == (0, [], [])


def test_of_three_at_once_one_does_it_and_the_others_say_so(field: Field) -> None:
    """Nothing is half done: what one has begun it ends alone."""
    one = field.one
    one.node.stop_agent()  # it has ended
    one.node.start_agent()
    field.lab.record()
    one.node.wait_ready()
    subnet = one.node.subnet

    field.lab.etcd.hang()  # the one that has begun waits for it, until the others have come
    with ThreadPoolExecutor(3) as pool:
        words = ("uninstall", "--etcd-timeout=40s")
        asked = [pool.submit(one.overlayctl, *words) for _ in range(3)]
        try:
            wait_for(lambda: sum(it.done() for it in asked) == 2, "two are refused", timeout_s=30)
        finally:
            field.lab.etcd.resume()
        said = [it.result() for it in asked]

    done, *others = sorted(said, key=lambda it: it.code)
    assert (done.code, "nothing is left" in done.out) == (0, True), done.err
    for other in others:
        assert (other.code, "another overlayctl is at work" in other.err) == (1, True), other
        assert "next: when that one has ended: overlayctl uninstall" in other.err
    one.see_that_nothing_is_left()
    assert not field.has_lease(subnet)


def test_a_hung_agent_a_dead_etcd_and_kills_do_not_keep_it_from_an_end(field: Field) -> None:
    """What cannot be given back is named with its command; what a killed run has left, the next one completes."""
    lab, two, node = field.lab, field.two, field.two.node
    subnet = node.subnet
    lab.add_pod(node)
    node.send(signal.SIGSTOP)
    with cut_off(node.namespace, 2379):
        for delay_s in (0.4, 0.8, 1.2):
            words = [str(VENV_BIN / "overlayctl"), "uninstall", "--force", "--etcd-timeout=1s"]
            begun = Daemon(
                "uninstall", two.files.inside(words), node.log, environ=two.files.environ
            )
            time.sleep(delay_s)
            begun.end(signal.SIGKILL)
        code, answer = two.uninstall("--force", "--etcd-timeout=1s")
    assert code == 1
    (left,) = [it for it in answer["residue"] if "etcd" in it["what"]]
    assert f"overlayctl node remove {node.name}" in left["mend"]
    assert field.has_lease(subnet)

    code, answer = two.uninstall()

    assert (code, answer["residue"]) == (0, [])
    two.see_that_nothing_is_left()
    assert [path.name for path in two.plugin.parent.iterdir()] == ["overlay"]
    assert two.plugin.read_bytes() == THEIRS
    assert not field.has_lease(subnet)


def test_another_agent_of_the_node_keeps_all_that_it_needs(field: Field) -> None:
    """Two networks on one machine: the second one goes, and the machine is what it was with the first one alone."""
    lab, first = field.lab, field.stays
    lab.etcd.ctl("put", "/blue/network/config", BLUE)
    blue = add_agent(lab, first, "blue", etcd_prefix="/blue/network")
    machine = Machine(blue, OwnFiles(blue), whole(first))
    blue.start_agent()
    lab.record()
    blue.wait_ready()
    lab.add_pod(blue)

    code, answer = machine.uninstall("--force")

    assert (code, answer["residue"]) == (0, [])
    assert any("the instance without a name" in str(kept) for kept in answer["kept"])
    assert (blue.runtime.bin_dir / "overlay").exists()
    found = difference(machine.before, whole(first))
    assert found == [], "\n".join(found)
    assert [path.name for path in first.conf_dir.iterdir()] == ["10-overlay.conflist"]
    assert first.status()["verdict"] == "healthy"
    assert not lab.etcd.ctl("get", "--prefix", "--keys-only", "/blue/network/subnets").strip()
