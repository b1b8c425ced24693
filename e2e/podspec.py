"""What kubelet would say of a pod and of its container, as fields of CRI messages. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from e2e.images import BUSYBOX

NODE_NETWORK = 2
"""runtime.v1.NamespaceMode.NODE; 0 is POD."""
CONTAINER_PIDS = 1


def sandbox_config(
    name: str,
    *,
    uid: str,
    cgroup: str,
    host_ports: Mapping[int, int],
    annotations: Mapping[str, str],
    nameservers: Iterable[str] = (),
    host_network: bool = False,
) -> dict[str, Any]:
    """A PodSandboxConfig; ``host_ports`` are host port → container port, TCP."""
    spaces = {"network": NODE_NETWORK if host_network else 0, "pid": CONTAINER_PIDS}
    return {
        "metadata": {"name": name, "uid": uid, "namespace": "default", "attempt": 0},
        # runc refuses a host name where the UTS namespace is the node's.
        "hostname": "" if host_network else name,
        "dns_config": {"servers": list(nameservers)},
        "port_mappings": [
            {"protocol": 0, "host_port": outside, "container_port": inside}
            for outside, inside in host_ports.items()
        ],
        "annotations": dict(annotations),
        "linux": {
            "cgroup_parent": cgroup,
            "security_context": {"namespace_options": spaces},
        },
    }


def container_config(name: str, command: Sequence[str]) -> dict[str, Any]:
    """A ContainerConfig on busybox."""
    return {
        "metadata": {"name": name, "attempt": 0},
        "image": {"image": BUSYBOX},
        "command": list(command),
        "linux": {},
    }
