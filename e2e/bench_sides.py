"""The sides of `make bench-cni`: our plugin behind either front, and the reference bridge + host-local.

Both are exec'ed in the same node namespace, on a bridge of their own, with their state on the same tmpfs.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.node import Node
from e2e.process import must

REFERENCE_BIN = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins puts them."""
REFERENCE_BRIDGE = "ref0"
REFERENCE_SUBNET = "10.99.0.0/24"
CNI_VERSION = "1.0.0"
"""The newest that Debian's plugins and containerd speak."""
FRONTS = ("compiled", "python")


@dataclass(frozen=True, slots=True)
class Side:
    """One plugin as a runtime knows it. ``held`` is where its addresses stand, a file each."""

    name: str
    program: Path
    config: Mapping[str, Any]
    held: Path

    def leftovers(self) -> list[str]:
        """Names of the addresses that it still holds."""
        names = sorted(path.name for path in self.held.glob("*"))
        return [name for name in names if not name.startswith((".", "last_reserved", "lock"))]


def ours(node: Node, front: str) -> Side:
    """Our plugin behind one of the fronts, installed into a directory of its own.

    Raises:
        CommandFailed: it cannot be installed here.
    """
    bin_dir = node.work / f"bin-{front}"
    bin_dir.mkdir()
    words = [sys.executable, "-m", "cni.install", "--bin-dir", str(bin_dir)]
    must([*words, "--run-dir", str(node.run_dir), *_front_flags(front)])
    conflist = node.runtime.conflist()
    name = conflist["name"]
    # Without runDir, as on a real node: it is the default there, and not stated.
    config = {"cniVersion": CNI_VERSION, "name": name, "type": "overlay"}
    return Side(f"ours/{front}", bin_dir / "overlay", config, node.run_dir / "ipam" / name)


def installable() -> list[str]:
    """The fronts that cni.install has, the fastest first."""
    return list(FRONTS) if _chooses() else ["python"]


def _front_flags(front: str) -> list[str]:
    return ["--front", front] if _chooses() else []


def _chooses() -> bool:
    """Whether cni.install lets one choose; where it does not, the Python front is all there is."""
    return "--front" in must([sys.executable, "-m", "cni.install", "--help"])


def theirs(node: Node, *, mtu: int) -> Side:
    """The reference: bridge with host-local, without masquerading, which costs it iptables."""
    config = {
        "cniVersion": CNI_VERSION,
        "name": "reference",
        "type": "bridge",
        "bridge": REFERENCE_BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "mtu": mtu,
        "ipam": {
            "type": "host-local",
            "dataDir": str(node.work / "reference"),
            "ranges": [[{"subnet": REFERENCE_SUBNET}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return Side(
        "reference", REFERENCE_BIN / "bridge", config, node.work / "reference" / "reference"
    )
