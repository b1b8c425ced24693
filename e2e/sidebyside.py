"""Several agents on one machine of a lab: each with a network of its own, all for one container runtime."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from e2e.lab import Lab
from e2e.netns import picture
from e2e.node import Node
from e2e.pods import Runtime
from overlay.marks import Marks


@dataclass(frozen=True, slots=True)
class AskingRuntime(Runtime):
    """Asks for one of several networks by name, as podman and multus do."""

    network: str = ""

    def conflist(self) -> dict[str, Any]:
        """The one of that name."""
        for path in sorted(self.conf_dir.glob("*.conflist")):
            found: dict[str, Any] = json.loads(path.read_text())
            if found["name"] == self.network:
                return found
        raise FileNotFoundError(f"no network {self.network} in {self.conf_dir}")


def add_agent(lab: Lab, beside: Node, instance: str, *, name: str = "", **settings: object) -> Node:
    """Another agent on the machine of ``beside``; not started. Its bridge follows from the instance."""
    name, marks = name or f"{beside.name}-{instance}", Marks(instance)
    machine = hashlib.sha256(f"{beside.work}".encode()).hexdigest()[:32]
    given = {
        "instance": instance,
        "node_name": beside.name,
        "machine_id": machine,
        "cni_conf_dir": str(beside.conf_dir),
        "etcd_endpoints": lab.endpoints,
    }
    node = Node(
        name,
        beside.namespace,
        address=beside.address,
        work=lab.work / name,
        settings={**given, **settings},
    )
    node.conf_dir, node.conflist = beside.conf_dir, marks.conflist
    node.runtime = AskingRuntime(
        beside.namespace, beside.conf_dir, beside.runtime.bin_dir, network=marks.name
    )
    lab.nodes[name] = node
    return node


def ask_by_name(node: Node) -> Node:
    """The runtime of a node with several networks asks for this one's."""
    node.runtime = AskingRuntime(
        node.namespace, node.conf_dir, node.runtime.bin_dir, network="overlay"
    )
    return node


def configured(node: Node) -> dict[str, list[str]]:
    """What somebody has configured on a machine, without what the kernel changes by itself."""
    shown = picture(node.namespace)
    keys = ("ifindex", "ifname", "ifalias", "address", "mtu", "master")
    rows = node.namespace.query("link", "show")
    links = [" ".join(f"{key}={row.get(key, '')}" for key in keys) for row in rows]
    lines = node.namespace.must("ip", "-o", "addr", "show").splitlines()
    addresses = [line.partition(": ")[2] for line in lines if "fe80" not in line]
    return {**shown, "links": links, "addresses": addresses}
