"""Programs that undo our work for ever, object by object: recognised, named, throttled, and over when they end."""

import shutil
import signal
from dataclasses import dataclass

import pytest

from e2e.damages import Side, side
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.process import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PATIENCE_S = 40.0
"""The longest pause is 30 s."""


@dataclass(frozen=True, slots=True)
class Fight:
    """``program`` is the kernel's name of one that undoes ``script`` again and again."""

    program: str
    script: str
    over: str
    advice: str


FIGHTS = (
    Fight("NetworkManager", "ip addr flush dev overlay.1", "address {own}", "conf.d/overlay.conf"),
    Fight("NetworkManager", "ip link set {port} nomaster", "link of pod", "conf.d/overlay.conf"),
    Fight("systemd-network", "ip link set overlay.1 down", "device overlay.1", "Unmanaged=yes"),
    Fight("flanneld", "ip neigh del {vtep} dev overlay.1", "neighbour {vtep}", "disable --now"),
    Fight("calico-node", "bridge fdb del {mac} dev overlay.1", "fdb entry {mac}", "DaemonSet"),
    Fight("dockerd", "ip link del overlay0", "bridge overlay0", "daemon.json"),
    Fight("bird", "ip route del {subnet}", "route {subnet}", "export filter"),
    Fight("kube-router", "ip route del {mine}", "route {mine}", "--run-router=false"),
    Fight("ufw", "echo 0 > /proc/sys/net/ipv4/ip_forward", "sysctl net.ipv4.ip_forward", "ufw"),
)


@pytest.fixture
def damaged(pair: tuple[Lab, Node, Node]) -> tuple[Lab, Side]:
    """A node whose agent has no memory of another fight, with a pod that talks to another's."""
    lab, one, two = pair
    if not lab.pods:
        lab.add_pod(one), lab.add_pod(two)
    one.kill_agent()
    one.start_agent()
    lab.record()
    one.wait_ready(peers=1)
    return lab, side(one, two, *lab.pods)


@pytest.mark.parametrize("fight", FIGHTS, ids=lambda fight: f"{fight.program}: {fight.script}")
def test_a_fight_is_named_and_throttled_and_costs_nothing_once_it_is_over(
    damaged: tuple[Lab, Side], fight: Fight
) -> None:
    """The rival is a shell by that name in the node's network namespace."""
    lab, stage = damaged
    program = lab.work / fight.program
    shutil.copy("/bin/sh", program)
    over = fight.over.format(**stage.words)
    script = fight.script.format(**stage.words)
    loop = f"while :; do {script}; sleep 0.1; done 2>/dev/null"
    command = stage.node.namespace.inside([program, "-c", loop])
    rival = Daemon("rival", command, lab.work / "rival.log")
    lab.track(rival)

    def told() -> list[str]:
        trouble = stage.node.tell("status")["trouble"]
        return [why for key, why in trouble.items() if key.startswith(f"fight over {over}")]

    try:
        wait_for(lambda: bool(told()), f"a fight over {over}", timeout_s=PATIENCE_S)
        (why,) = told()
        assert f"likely: {fight.program} (pid {rival.pid})" in why
        assert fight.advice in why
        assert stage.node.overlayctl("drift").code == 1
    finally:
        rival.end(signal.SIGKILL)
    wait_for(stage.whole, "all as it was", timeout_s=PATIENCE_S, also=stage.node.log_tail)
