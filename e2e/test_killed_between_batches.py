"""kill -9 of the agent between two of its netlink messages, with a thousand peers that change meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e import leasebook
from e2e.bench_records import CONFIG, Records
from e2e.etcdserver import CONFIG_KEY
from e2e.lab import Lab
from e2e.node import VENV_BIN, Node, wait_for
from e2e.pinger import Pings
from e2e.process import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PEERS, CHANGED = 1_000, 40
CALLS = (20, 22, 24, 26, 28)
"""A thread's so many-th message is never sent: the first are reads, then come batches."""
FOREIGN = (
    "ip route add 198.51.100.0/24 via 192.168.50.254",
    "ip neigh add 192.168.50.99 lladdr 02:00:00:00:00:99 nud permanent dev eth0",
    "ip link add theirs type vxlan id 77 dstport 4789 local {underlay} dev eth0",
    "bridge fdb add 02:00:00:00:00:98 dev theirs dst 192.168.50.98 self permanent",
    "nft add table ip theirs",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """``node`` has a thousand peers that are only records, and one that is real and healthy."""

    lab: Lab
    node: Node
    records: Records
    pings: Pings

    def doomed(self, call: int) -> None:
        """An agent that dies of its ``call``-th message, whichever of its threads comes to it first."""
        words: list[str | Path] = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto"]
        words += ["-e", f"inject=sendto:signal=KILL:when={call}"]
        agent: list[str | Path] = [VENV_BIN / "overlay-agent", "--config", self.node.config_file]
        command = self.node.namespace.inside([*words, *agent])
        daemon = Daemon(f"agent of {self.node.name}", command, self.node.log)
        self.lab.track(daemon)
        wait_for(lambda: not daemon.alive, f"the end by message {call}", timeout_s=60)

    def foreign(self) -> list[str]:
        """What others have on this node."""
        space = self.node.namespace
        shown = [space.must("ip", "route", "show", "198.51.100.0/24")]
        shown += [space.must("ip", "neigh", "show", "192.168.50.99", "dev", "eth0")]
        shown += [space.must("bridge", "fdb", "show", "dev", "theirs")]
        return [*shown, space.must("nft", "list", "table", "ip", "theirs")]

    def differences(self) -> list[str]:
        """Between the kernel and the records."""
        return leasebook.differences(self.node, leasebook.read(self.lab.etcd.ctl))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """All of it in sync, and pings that never stop."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, CONFIG)
        one, two = lab.add_node("n1"), lab.add_node("n2")
        records = Records(lab.fabric, lab.endpoints, lab.work / "records.log")
        lab.clients.append(records)
        lab.record()
        records.do("seed", 0, PEERS)
        lab.start_nodes(one, two)
        for script in FOREIGN:
            one.namespace.must("sh", "-ec", script.format(underlay=one.address))
        pings = Pings(lab)
        lab.add_pod(one), lab.add_pod(two)
        pings.between(lab.pods)
        yield Scene(lab, one, records, pings)


def test_any_death_between_two_batches_costs_nothing(scene: Scene) -> None:
    """A start after each ends in the right state; healthy peers and what is foreign never notice."""
    node, foreign = scene.node, scene.foreign()
    node.kill_agent()
    half = 0
    with scene.pings.window() as window:
        for number, call in enumerate(CALLS):
            for peer in range(number * CHANGED, (number + 1) * CHANGED):
                scene.records.do("put", peer, number + 1)  # another MAC
            scene.records.do("delete", PEERS - 1 - number)
            before = scene.differences()
            scene.doomed(call)
            half += 0 < len(scene.differences()) != len(before)
            assert scene.foreign() == foreign
        node.start_agent()
        scene.lab.record()
        node.wait_ready(peers=PEERS + 1 - len(CALLS), timeout_s=60)
        wait_for(
            lambda: not scene.differences(), "kernel = leases", timeout_s=60, also=node.log_tail
        )
    assert not window.gaps, f"pings lost: {window.gaps}"
    assert scene.foreign() == foreign
    assert half > 0, "no agent died between two batches: other calls are to be chosen"


def test_a_node_that_lost_its_device_is_mended_though_its_agent_dies_again_and_again(
    scene: Scene,
) -> None:
    """Three thousand entries to be made anew, and never time to make them all."""
    node, foreign = scene.node, scene.foreign()
    node.kill_agent()
    node.namespace.ip("link del overlay.1")
    for call in CALLS:
        scene.doomed(call)
    node.start_agent()
    scene.lab.record()
    node.wait_ready(peers=PEERS + 1 - len(CALLS), timeout_s=60)
    wait_for(lambda: not scene.differences(), "kernel = leases", timeout_s=60, also=node.log_tail)
    assert scene.foreign() == foreign
