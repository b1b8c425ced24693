"""A cluster of machines with a real systemd, installed by the README's commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.lab import MEMORY, Lab
from e2e.systemdnode import SystemdNode

INSTALL_S = 180
Site = tuple[Lab, list[SystemdNode]]
"""What a cluster is: the lab, and its machines."""


@contextmanager
def cluster(layer: Path, *names: str) -> Iterator[Site]:
    """Its etcd, and the nodes: booted, installed, and each has heard of the others."""
    with Lab(root=MEMORY) as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        nodes = [SystemdNode(lab, name, layer) for name in names]
        for node in nodes:
            node.switch_on()
        for node in nodes:
            node.wait_up()
            install(node, lab.endpoints)
        for node in nodes:
            node.wait_ready(peers=len(nodes) - 1)
        yield lab, nodes


def install(node: SystemdNode, endpoints: str) -> str:
    """What `make install` ends with; the rest of it, which is the same everywhere, is in the layer."""
    words = ["overlayctl", "install", "--etcd-endpoints", endpoints]
    return node.must(*words, timeout_s=INSTALL_S)
