"""A process that does not see the mounts of the machine, such as a unit: the pods behind them live all the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from cni import sight

pytestmark = pytest.mark.contract

SEEN = """
import sys
from cni import attach, pods, sight
path = sys.argv[1]
with attach.namespace(path):
    print(sight.inode_at(path), pods.ways_in()[sight.inode_at(path)])
"""
MACHINE = [
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "sh",
    "-ec",
    '"$@" || exit 1',
    "init",
]
"""What sees the pod is process 1."""
APART = 'mount -t tmpfs none /run/netns && exec "$0" -c "$1" "$2"'
"""In a mount namespace of its own, with nothing where the machine has its namespaces."""


def test_a_namespace_that_only_the_machine_sees_is_there_and_can_be_entered(pod: Path) -> None:
    """The sweep would take the pod away otherwise, once nobody lives in it."""
    words = [*MACHINE, "unshare", "--mount", "sh", "-ec", APART, sys.executable, SEEN, str(pod)]
    said = subprocess.run(words, check=False, capture_output=True, text=True)

    assert said.returncode == 0, said.stderr
    inode, way = said.stdout.split()
    assert int(inode) == sight.inode_at(str(pod)) != 0
    assert way == f"{sight.MACHINE}{pod}"
