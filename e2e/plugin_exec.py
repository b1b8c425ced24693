"""CNI plugins exec'ed as a runtime does it, timed from the exec to the exit of the executable.

posix_spawn makes the child without copying the parent; stdin and stdout are files, the same for every side.
The thread that calls has to be in the node's network namespace already, so that no nsenter is timed.
"""

import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.bench_sides import Side
from e2e.pods import CniFailed
from e2e.process import CLEAN_ENVIRON

_READ = os.O_RDONLY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@dataclass(slots=True)
class Attachment:
    """A prepared network namespace under a new container id, and the files of its two calls."""

    side: Side
    netns: Path
    files: Path
    container: str = field(default_factory=lambda: secrets.token_hex(32))
    result: dict[str, Any] = field(default_factory=dict)

    def start(self, verb: str) -> int:
        """Exec the plugin; returns the process id. `prepare` comes first."""
        redirected = [
            (os.POSIX_SPAWN_OPEN, 0, str(self._path("in")), _READ, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self._path("out")), _WRITE, 0o600),
        ]
        return os.posix_spawn(
            self.side.program,
            [str(self.side.program)],
            self._environ(verb),
            file_actions=redirected,
        )

    def prepare(self, verb: str) -> None:
        """Write stdin: the configuration, and on DEL the result that libcni's cache gives back."""
        given = {"prevResult": self.result} if verb == "DEL" else {}
        self._path("in").write_text(json.dumps({**self.side.config, **given}))

    def finish(self, verb: str, status: int) -> None:
        """Read what the ended call said; CniFailed if it refused."""
        said = self._path("out").read_text()
        if status != 0:
            raise CniFailed(os.waitstatus_to_exitcode(status), f"{self.side.name} {verb}: {said}")
        if verb == "ADD":
            self.result = json.loads(said)

    @property
    def address(self) -> str:
        """What ADD gave."""
        return str(self.result["ips"][0]["address"])

    def _path(self, kind: str) -> Path:
        return self.files / f"{self.netns.name}.{kind}"

    def _environ(self, verb: str) -> dict[str, str]:
        return {
            **CLEAN_ENVIRON,
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": str(self.netns),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.side.program.parent),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={self.netns.name};"
            f"K8S_POD_INFRA_CONTAINER_ID={self.container}",
        }


def one(attachment: Attachment, verb: str) -> float:
    """One call by itself; seconds."""
    attachment.prepare(verb)
    begun = time.perf_counter()
    _, status = os.waitpid(attachment.start(verb), 0)
    taken = time.perf_counter() - begun
    attachment.finish(verb, status)
    return taken


def together(attachments: Sequence[Attachment], verb: str) -> float:
    """All at once; seconds from the first start to the last exit."""
    for item in attachments:
        item.prepare(verb)
    begun = time.perf_counter()
    children = [item.start(verb) for item in attachments]
    ended = [os.waitpid(child, 0)[1] for child in children]
    taken = time.perf_counter() - begun
    for item, status in zip(attachments, ended, strict=True):
        item.finish(verb, status)
    return taken
