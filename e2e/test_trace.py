"""overlayctl trace: the same packets inside and outside of the tunnel, a capture file, and where packets vanish."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.utils import rdpcap

from e2e.lab import Lab
from e2e.node import VENV_BIN, Node, wait_for
from e2e.pods import Pod
from e2e.process import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

Scene = tuple[Lab, Node, Node, Pod, Pod]


@pytest.fixture(scope="module")
def scene(pair: tuple[Lab, Node, Node]) -> Scene:
    """Two nodes, a pod on each, and they have talked."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    assert here.ping(there.address, wait_s=5).ok
    return lab, one, two, here, there


class _Trace:
    """A running overlayctl trace, and what it has printed."""

    def __init__(self, lab: Lab, node: Node, *words: str) -> None:
        self._log = lab.work / f"trace-{len(list(lab.work.glob('trace-*')))}.log"
        command: list[str | Path] = [
            VENV_BIN / "overlayctl",
            "trace",
            "--config",
            node.config_file,
            *words,
        ]
        self._daemon = Daemon("overlayctl trace", node.namespace.inside(command), self._log)
        lab.track(self._daemon)
        wait_for(
            lambda: "listening" in self.text, "listening", timeout_s=30, also=lambda: self.text
        )

    @property
    def text(self) -> str:
        """All of it."""
        return self._log.read_text()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """With --output json."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def end(self) -> int:
        """Ctrl-C; its exit code."""
        return self._daemon.end(signal.SIGINT)


def test_a_ping_is_seen_at_four_points_and_the_capture_file_has_all(
    scene: Scene, tmp_path: Path
) -> None:
    """Inside and outside, both ways, with VNI and the other node's name; as many in the file as lines."""
    lab, one, _two, here, there = scene
    file = tmp_path / "pod.pcapng"
    running = _Trace(lab, one, here.name, "--icmp", "-w", str(file))

    assert here.ping(there.address, count=5).received == 5
    wait_for(lambda: running.text.count("veth → pod") >= 5, "all seen", timeout_s=30)
    assert running.end() == 0

    lines = running.text.splitlines()
    for point in ("pod → veth", "→ tunnel to n2", "← tunnel from n2", "veth → pod"):
        assert len([line for line in lines if point in line]) == 5, running.text
    assert f"{here.address} > {there.address} ICMP echo-request" in running.text
    assert "VNI 1, 192.168.50.1:" in running.text
    assert "nothing vanished on this node" in running.text
    packets = rdpcap(str(file))
    assert len(packets) == 20
    assert len([packet for packet in packets if packet.haslayer(VXLAN)]) == 10
    assert all(packet.getlayer(ICMP) or packet[VXLAN].getlayer(ICMP) for packet in packets)
    assert all(isinstance(packet, Ether) for packet in packets)


def test_what_a_rule_drops_is_seen_at_the_veth_and_not_leaving(scene: Scene) -> None:
    """By address, as JSON, while no agent runs; the summary names the place and what to ask next."""
    lab, one, _two, here, there = scene
    rule = "add table inet planted; add chain inet planted f { type filter hook forward priority -5; }; "
    one.namespace.must(
        "nft",
        rule + f"add rule inet planted f ip daddr {there.address} icmp type echo-request drop",
    )
    one.kill_agent()
    try:
        running = _Trace(lab, one, str(here.address), "--output", "json")
        assert here.ping(there.address, count=4).received == 0
        # Not judged is what was seen in the last moment: what comes later ends that.
        assert here.ping(f"{there.address.exploded.rpartition('.')[0]}.1", count=4).received == 4
        wait_for(lambda: len(_at(running, "tunnel", "in")) >= 4, "all seen", timeout_s=30)
        assert running.end() == 1
    finally:
        one.namespace.must("nft", "delete", "table", "inet", "planted")
        one.start_agent()
        one.wait_ready(peers=1)

    assert len(_to(running, "pod", str(there.address))) == 4
    assert _to(running, "tunnel", str(there.address)) == []
    summary = running.objects[-1]
    assert summary["type"] == "summary"
    assert (summary["pod_out"], summary["tunnel_out"]) == (8, 4)  # ARP is not counted
    first = summary["findings"][0]
    assert (
        f"4 icmp packets {here.address} > {there.address}: sent by the pod, not seen leaving"
        in first["text"]
    )
    assert f"overlayctl why {here.address} {there.address}" in first["next"]


def _at(running: _Trace, point: str, way: str) -> list[dict[str, Any]]:
    return [it for it in running.objects if (it.get("point"), it.get("way")) == (point, way)]


def _to(running: _Trace, point: str, target: str) -> list[dict[str, Any]]:
    return [it for it in _at(running, point, "out") if it["target"] == target]


def test_a_pod_of_another_node_is_refused_with_the_command_for_there(scene: Scene) -> None:
    """And so is one that nobody knows; counts and seconds end it."""
    _lab, one, _two, here, there = scene

    said = one.overlayctl("trace", str(there.address))
    assert said.code == 64
    assert f"next: on n2: overlayctl trace {there.address}" in said.err
    assert one.overlayctl("trace", "nobody").code == 64
    ended = one.overlayctl("trace", here.container[:10], "--seconds", "0.1")
    assert ended.code == 0, ended.err
    assert "sent by the pod" in ended.out
