"""Rules for every ring: what a test needs must be there, and a missing component is said aloud.

On a developer's machine a contract or e2e test without root is skipped with its reason (pytest -ra
prints it); with CI=true it is an error.
"""

import gc
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

_NEEDS_ROOT = ("contract", "e2e")
_COMMANDS = (
    *("ip", "bridge", "tc", "nft", "iptables", "etcd", "etcdctl", "ping", "nsenter", "openssl"),
    *("containerd", "ctr", "runc", "podman", "conmon", "busybox", "gcc", "go", "strace"),
)
_FILES = (
    "/usr/lib/cni/portmap",
    "/usr/share/gocode/src/github.com/containernetworking/cni/libcni/api.go",
)

gc.disable()
gc.set_threshold(10_000, 20, 20)
"""Until all is collected next to nothing becomes garbage; after that seldom: a tenth of a run went by in it."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Judge once, before anything runs."""
    lacking = _lacking()
    if not lacking:
        return
    for item in items:
        if not any(item.get_closest_marker(name) for name in _NEEDS_ROOT):
            continue
        if os.environ.get("CI") == "true":
            raise pytest.UsageError(
                f"{item.nodeid} cannot run: {lacking}; CI=true forbids to skip it"
            )
        item.add_marker(pytest.mark.skip(reason=lacking))


def pytest_collection_finish() -> None:
    """Two thousand tests and all modules stay to the end: the collector need not look through them again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _lacking() -> str:
    if os.geteuid() != 0:
        return "root is needed for network namespaces"
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    missing += [name for name in _FILES if not Path(name).exists()]
    return f"missing: {', '.join(missing)} (make setup)" if missing else ""
