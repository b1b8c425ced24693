"""What one can look at in a demo that was kept, and how it is ended."""

import sys

from e2e.etcdserver import PREFIX
from e2e.lab import Lab


def how_to_look(lab: Lab, hints: list[str]) -> str:
    """Commands to type."""
    node, pod = next(iter(lab.nodes.values())), lab.pods[0]
    enter = f"ip netns exec {node.namespace.name}"
    binary = f"{sys.prefix}/bin/overlayctl"
    return "\n".join(
        [
            "",
            "it is still running; look around:",
            f"  {enter} {binary} status --config {node.config_file}",
            f"  {enter} ip route",
            f"  nsenter --net={pod.namespace.path} ping {lab.pods[-1].address}",
            f"  ip netns exec {lab.fabric.name} env ETCDCTL_API=3 etcdctl --endpoints {lab.etcd.url}"
            f" get --prefix {PREFIX}/subnets",
            *(f"  {hint}" for hint in hints),
            f"  tail -f {node.log}",
            "and end it: make demo-down",
        ]
    )
