"""A cluster of machines with a real systemd, installed by the README's commands."""

from pathlib import Path

from e2e.lab import Lab
from e2e.systemdnode import UNIT, SystemdNode


def start(lab: Lab, layer: Path, *names: str) -> list[SystemdNode]:
    """Booted, installed, and each has heard of the others."""
    nodes = [SystemdNode(lab, name, layer) for name in names]
    for node in nodes:
        node.switch_on()
    for node in nodes:
        node.wait_up()
        install(node, lab.endpoints)
    for node in nodes:
        node.wait_ready(peers=len(nodes) - 1)
    return nodes


def install(node: SystemdNode, endpoints: str) -> None:
    """`make install` is the layer's; the rest of the README."""
    node.settings(etcd_endpoints=[endpoints])
    node.must("systemctl", "daemon-reload")
    node.must("systemctl", "enable", "--now", UNIT)
