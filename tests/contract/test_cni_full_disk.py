"""A run directory that is full or read-only: said with code 11 and its name, nothing half-done, a DEL still works."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract import spaces
from tests.contract.cni_node import Node
from tests.contract.faults import ROOT, addresses_in, environ_of
from tests.contract.spaces import difference, inside, picture

pytestmark = pytest.mark.contract

CONFIG = json.dumps({"cniVersion": "1.1.0", "name": "overlay", "type": "overlay"})
FILL = {
    "no block is free": "head -c 1m /dev/zero >{run_dir}/ballast",
    "no inode is free": "i=0; while : >{run_dir}/ballast.$i; do i=$((i+1)); done",
    "read-only": "mount -o remount,ro {run_dir}",
}
EASE = "mount -o remount,rw {run_dir} && rm -f {run_dir}/ballast*"


class Small:
    """A node whose run directory is a tiny tmpfs, mounted in a mount namespace that ``holder`` keeps."""

    def __init__(self, node: Node, holder: int) -> None:
        self.node = node
        self._enter = ["nsenter", f"--mount=/proc/{holder}/ns/mnt", f"--net={node.space}"]
        page = (node.run_dir / "node.json").read_bytes()
        self.shell(f"mount -t tmpfs -o size=64k,nr_inodes=40 overlay-test {node.run_dir}")
        self.shell(f"cat >{node.run_dir}/node.json", stdin=page)

    def shell(self, line: str, *, stdin: bytes = b"") -> None:
        """Run a shell line in there, whatever its code."""
        words = [*self._enter, "sh", "-c", line.format(run_dir=self.node.run_dir)]
        subprocess.run(words, input=stdin, check=False, capture_output=True, timeout=10)

    def call(self, verb: str, pod: Path, container: str) -> dict[str, Any]:
        """The full program; {} for silence."""
        done = subprocess.run(
            [*self._enter, sys.executable, "-m", "cni"],
            input=CONFIG,
            env={
                **{"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
                **{"OVERLAY_RUN_DIR": str(self.node.run_dir)},
                **environ_of(verb, pod, container),
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.stderr == ""
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer

    def files(self) -> list[str]:
        """What belongs to pods, temporary files as well."""
        line = f"find {self.node.run_dir} -path '*/ipam/*' -o -path '*/attachments/*/*'"
        done = subprocess.run(
            [*self._enter, "sh", "-c", line], check=True, capture_output=True, text=True
        )
        return sorted(name for name in done.stdout.splitlines() if "/.last-" not in name)


@contextmanager
def _holder() -> Iterator[int]:
    """A process in a mount namespace of its own, which sees what is mounted outside later on."""
    words = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo; exec sleep 120"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield child.pid
        finally:
            child.kill()


@pytest.fixture
def small(space: Path, tmp_path: Path) -> Iterator[Small]:
    """A node that is ready, with room for some pods."""
    with _holder() as holder:
        yield Small(Node(space, tmp_path), holder)


@pytest.mark.parametrize("kind", FILL)
def test_an_add_without_room_says_where_and_leaves_nothing(small: Small, kind: str) -> None:
    """Code 11 names the directory; the pods of before live and can go; with room again all is well."""
    with spaces.namespace() as old, spaces.namespace() as new:
        assert "ips" in small.call("ADD", old, "old")
        before, files = picture(small.node.space), small.files()
        small.shell(FILL[kind])

        error = small.call("ADD", new, "new")

        assert (error["code"], str(small.node.run_dir) in error["msg"]) == (11, True), error
        assert small.files() == files
        assert difference(before, picture(small.node.space)) == []
        assert addresses_in(new) == set()
        inside(old, "ping", "-c1", "-W9", "10.5.1.1")

        gone = small.call("DEL", old, "old")
        assert gone.get("code", 0) == (11 if kind == "read-only" else 0)
        small.shell(EASE)
        assert small.call("DEL", old, "old") == {}
        assert small.files() == []
        assert "ips" in small.call("ADD", new, "new")
        inside(new, "ping", "-c1", "-W9", "10.5.1.1")
        assert small.call("DEL", new, "new") == {}


@pytest.mark.parametrize("kind", FILL)
def test_a_first_add_without_room_does_the_same(small: Small, kind: str) -> None:
    """Where not even the directories are there yet; and the DEL that follows is no trouble later."""
    small.shell(FILL[kind])
    with spaces.namespace() as pod:
        error = small.call("ADD", pod, "c1")

        assert (error["code"], str(small.node.run_dir) in error["msg"]) == (11, True), error
        assert addresses_in(pod) == set()
        assert small.call("DEL", pod, "c1").get("code", 0) in (0, 11)
        small.shell(EASE)
        assert small.call("DEL", pod, "c1") == {}
        assert small.files() == []
