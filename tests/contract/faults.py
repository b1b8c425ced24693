"""Faults from outside: a program is killed, or refused, at the N-th of its system calls of one kind.

strace(1) injects them, so the product has no hooks for it. The signal comes before the call has done anything:
each N is a moment between two changes, and counting on until the program ends by itself finds them all.
Not --seccomp-bpf: strace 6.1 injects nothing with it. Not -f: a program that ours starts is let alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import config as settings
from agent.config import Config
from agent.sweep import Sweep
from cni import main
from cni.attach import is_attached
from cni.owner import Owner
from overlay.netlink.namespace import run_inside
from tests.contract.cni_node import Node
from tests.contract.spaces import ip
from tests.contract.waiting import until

ROOT = Path(__file__).resolve().parents[2]
FILES = ("mkdir", "symlink", "rename", "unlink", "write")
CHANGES = (*FILES, "sendto")
"""All that changes something: files below the run directory, netlink, and the answer on stdout."""
SURE = {
    "ADD": {"symlink": 2, "rename": 2, "write": 2, "sendto": 4},
    "DEL": {"unlink": 2, "write": 1, "sendto": 2},
}
"""So many there are at least; otherwise the fault is not injected at all."""
MOST_POINTS = 40
KILLED = -9
HINTS = (".last-V4", ".last-V6")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program under strace ended; ``hit`` says that the call in question was reached."""

    code: int
    out: str
    err: str
    hit: bool

    @property
    def answer(self) -> dict[str, Any]:
        """Its JSON; {} for silence."""
        found: dict[str, Any] = json.loads(self.out or "{}")
        return found


def environ_of(verb: str, pod: Path | str, container: str) -> dict[str, str]:
    """What a runtime sets."""
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": str(pod),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/usr/lib/cni",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
    }


def inject(
    node: Node, fault: str, environ: Mapping[str, str], *, config: Mapping[str, Any]
) -> Ended:
    """The full program in the node's namespace, with a fault such as ``rename:signal=KILL:when=2``."""
    call = fault.partition(":")[0]
    with tempfile.NamedTemporaryFile(prefix="overlay-strace-") as log:
        done = subprocess.run(
            [
                *("nsenter", f"--net={node.space}", "strace", "-qq", "-o", log.name),
                *("-e", f"trace={call}", "-e", f"inject={fault}", sys.executable, "-m", "cni"),
            ],
            input=json.dumps(config),
            env={
                **{"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
                **{"OVERLAY_RUN_DIR": str(node.run_dir), **environ},
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        hit = "(INJECTED" in Path(log.name).read_text() or done.returncode == KILLED
    return Ended(done.returncode, done.stdout, done.stderr, hit)


def points(attempt: Callable[[int], Ended], *, least: int = 0) -> Iterator[tuple[int, Ended]]:
    """(N, how it ended) for N = 1, 2, … as long as there is an N-th call; ``least`` are sure to come."""
    for number in range(1, MOST_POINTS):
        ended = attempt(number)
        if not ended.hit:
            assert ended.code == 0, ended
            assert number > least, f"only {number - 1} points: is strace at work?"
            return
        yield number, ended
    raise AssertionError(f"no end after {MOST_POINTS} calls")


class Faulty:
    """A node whose full program is tampered with; what follows runs untampered, in process."""

    def __init__(self, node: Node, **config: object) -> None:
        self.node = node
        self.config = {"cniVersion": "1.1.0", "name": "overlay", "type": "overlay", **config}

    def attempt(self, fault: str, verb: str, pod: Path, container: str) -> Ended:
        """One call of the real program with a fault."""
        return inject(self.node, fault, environ_of(verb, pod, container), config=self.config)

    def call(self, verb: str, pod: Path | str, container: str, **more: object) -> dict[str, Any]:
        """One call without a fault; {} for silence."""
        stdin = json.dumps({**self.config, **more}).encode()
        environ = environ_of(verb, pod, container)
        _, stdout = run_inside(self.node.space, lambda: main.run(environ, stdin, self.node.run_dir))
        found: dict[str, Any] = json.loads(stdout) if stdout else {}
        return found

    def attached(self, container: str) -> bool:
        """Whether the host's end of a pod is there."""
        owner = Owner("overlay", container, "eth0")
        return run_inside(self.node.space, lambda: is_attached(owner))

    def sweep(self) -> Sweep:
        """Two looks of the agent's own sweep."""
        swept = Sweep(config_for(self.node.run_dir), lambda: "")
        for _ in range(2):
            run_inside(self.node.space, swept.once)
        return swept

    def files(self) -> list[str]:
        """Every file below the run directory that belongs to a pod, temporary ones as well."""
        return sorted(
            str(path.relative_to(self.node.run_dir))
            for room in ("ipam", "attachments")
            for path in (self.node.run_dir / room).rglob("*")
            if (path.is_symlink() or not path.is_dir()) and path.name not in HINTS
        )

    def wait_for_links(self, count: int) -> None:
        """The kernel ends a namespace, and the links in it, a moment after its last user is gone."""
        until(lambda: len(self.links()) == count)

    def links(self) -> list[str]:
        """Host ends of pods."""
        rows = json.loads(ip(self.node.space, "-j", "link", "show") or "[]")
        names = [row["ifname"] for row in rows if row]
        return [name for name in names if name.startswith("ovl") and name != "overlay0"]


def config_for(run_dir: Path) -> Config:
    """The agent's settings for a run directory of a test."""
    environ = {
        "OVERLAY_RUN_DIR": str(run_dir),
        "OVERLAY_CNI_CONF_DIR": str(run_dir / "net.d"),
        "OVERLAY_STATE_DIR": str(run_dir / "state"),
    }
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser)
    return settings.load(parser.parse_args([]), environ)


def addresses_in(pod: Path) -> set[str]:
    """What a pod's eth0 really has."""
    rows = json.loads(ip(pod, "-j", "-4", "address", "show") or "[]")
    return {
        item["local"] for row in rows if row and row["ifname"] != "lo" for item in row["addr_info"]
    }
