"""Real executables, run in a node's namespace exactly as libcni runs them."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cni import install
from tests.contract.cni_node import ARGS, PLUGINS, Node


@dataclass(frozen=True, slots=True)
class Said:
    """What a run left: exit code, stdout as JSON ({} for silence), stdout and stderr as they are."""

    code: int
    answer: dict[str, Any]
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Exec:
    """A directory with our executable, before Debian's on the path; no agent runs."""

    node: Node
    bin_dir: Path

    @classmethod
    def install(cls, node: Node, bin_dir: Path) -> "Exec":
        """As `cni.install` does it, for this node; with the patience of one that may be busy."""
        install.write(bin_dir, replace(install.settings(str(node.run_dir)), status_s=20.0))
        return cls(node, bin_dir)

    def environ(self, verb: str, pod: Path | str) -> dict[str, str]:
        """What libcni sets."""
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": str(pod),
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": ARGS,
            "CNI_PATH": f"{self.bin_dir}:{PLUGINS}",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }

    def run(
        self,
        verb: str,
        pod: Path | str,
        *,
        environ: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        **config: Any,  # noqa: ANN401 - any JSON
    ) -> Said:
        """Run the plugin that ``type`` names (ours without one)."""
        body = {"cniVersion": "1.0.0", "name": "overlay", "type": "overlay", **config}
        program = self.bin_dir / "overlay"
        if body["type"] != "overlay":
            program = Path(PLUGINS) / str(body["type"])
        done = subprocess.run(
            ["nsenter", f"--net={self.node.space}", "--", str(program)],
            input=json.dumps(body).encode() if stdin is None else stdin,
            env={**self.environ(verb, pod), **(environ or {})},
            capture_output=True,
            timeout=50,
            check=False,
            cwd="/",
        )
        stdout = done.stdout.decode()
        answer = json.loads(stdout) if stdout else {}
        return Said(done.returncode, answer, stdout, done.stderr.decode())
