"""Debian's libcni, the code inside containerd, CRI-O and podman: ADD, CHECK, DEL of whole conflists.

What `cnitool` would be if Debian had it; the Go program is libcnigo/main.go. Its cache lies below the
lab, and unlike the container runtimes it does send CHECK.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.node import Node
from e2e.pods import CniFailed, Pod
from e2e.process import CommandFailed, Said, run

SOURCE = Path(__file__).with_name("libcnigo") / "main.go"
DEBIAN_GO_PATH = "/usr/share/gocode"


def build(directory: Path) -> Path:
    """Compile the client, once per session; about a second. No module proxy is asked."""
    program = directory / "libcni"
    environ = {
        "GO111MODULE": "off",
        "GOPATH": DEBIAN_GO_PATH,
        "GOFLAGS": "",
        "GOCACHE": str(directory / "cache"),
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    said = run(["go", "build", "-o", program, SOURCE], environ=environ, timeout_s=120)
    if said.code != 0:
        raise CommandFailed(f"go build: {said.err}")
    return program


@dataclass(frozen=True, slots=True)
class Libcni:
    """One node's client. ``conf_dir`` is a directory of its own, with conflists by name."""

    program: Path
    node: Node
    conf_dir: Path

    def write(self, name: str, plugins: Sequence[Mapping[str, Any]]) -> None:
        """A conflist: our plugin, then ``plugins``."""
        first = {"type": "overlay", "runDir": str(self.node.run_dir)}
        page = {"cniVersion": "1.0.0", "name": name, "plugins": [first, *plugins]}
        self.conf_dir.mkdir(parents=True, exist_ok=True)
        (self.conf_dir / f"{name}.conflist").write_text(json.dumps(page))

    def attachment(self, network: str, pod: Pod, **capabilities: object) -> "Attachment":
        """One pod's interface in one network, with capability arguments; nothing is done yet."""
        return Attachment(self, network, pod, capabilities)

    def call(self, verb: str, network: str, pod: Pod, environ: Mapping[str, str]) -> Said:
        """Run the client once.

        Raises:
            CniFailed: a plugin refused, or libcni did.
        """
        words: list[str | Path] = [self.program, verb, network, pod.namespace.path]
        given = {
            "NETCONFPATH": str(self.conf_dir),
            "CNI_PATH": str(self.node.runtime.bin_dir),
            "CNI_CACHEDIR": str(self.conf_dir / "cache"),
            "CNI_CONTAINERID": pod.container,
            "CNI_IFNAME": "eth0",
            **environ,
        }
        said = run(self.node.namespace.inside(words), environ=given)
        if said.code != 0:
            raise _failure(said)
        return said


@dataclass(slots=True)
class Attachment:
    """What one pod has in one network."""

    client: Libcni
    network: str
    pod: Pod
    capabilities: Mapping[str, object] = field(default_factory=dict)

    def add(self) -> dict[str, Any]:
        """ADD of every plugin; the last one's result."""
        self.pod.take(json.loads(self._call("ADD").out))
        return self.pod.result

    def check(self) -> None:
        """CHECK of every plugin, with the cached result."""
        self._call("CHECK")

    def delete(self) -> None:
        """DEL of every plugin, from the last to ours."""
        self._call("DEL")

    def validate(self) -> list[str]:
        """What libcni finds the conflist capable of, having asked each plugin for its VERSION."""
        found: list[str] = json.loads(self._call("VALIDATE").out)
        return found

    def _call(self, verb: str) -> Said:
        environ = {"CAP_ARGS": json.dumps(self.capabilities)} if self.capabilities else {}
        return self.client.call(verb, self.network, self.pod, environ)


def _failure(said: Said) -> CniFailed:
    try:
        error = json.loads(said.out)
        return CniFailed(int(error["code"]), f"{error['msg']} {error.get('details', '')}".strip())
    except (ValueError, KeyError, TypeError):
        return CniFailed(999, f"{said.out}{said.err}".strip())
