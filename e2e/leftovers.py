"""What container runtimes of a lab leave on the machine when nobody stopped them, and its removal.

Everything is recognised as the lab's own: processes by the work directory in their arguments or by the
lab's cgroup, mounts by lying below the work directory, result caches by naming it.
"""

import base64
import binascii
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from e2e.netns import NETNS_DIR
from e2e.process import kill, run

CGROUPS = Path("/sys/fs/cgroup")
RESULT_CACHE = Path("/var/lib/cni/results")
"""libcni's, hard-coded in containerd and podman: shared by all that runs on the machine."""
SHIM_SOCKETS = Path("/run/containerd/s")
_RUNTIMES = frozenset({"containerd", "containerd-shim-runc-v2", "runc", "conmon", "podman"})
_END_S = 30


def cgroup_of(work: Path) -> str:
    """The parent of every cgroup of a lab, as runtimes spell it."""
    return f"/ovl-{work.name.rpartition('-')[2]}"


def clear(work: Path) -> None:
    """Processes, then mounts, cgroups and caches; nothing there is fine."""
    cgroup = cgroup_of(work)
    netns = _end_processes(work, cgroup)
    for path in shim_sockets(work):
        path.unlink(missing_ok=True)
    for path in (*_mounts(work), *netns):
        if run(["umount", path]).code != 0:
            run(["umount", "--lazy", path])
    for path in netns:
        path.unlink(missing_ok=True)
    _remove_cgroups(cgroup)
    for path in cached_results(work):
        path.unlink(missing_ok=True)


def cached_results(work: Path) -> list[Path]:
    """Entries of libcni's cache that came from configurations of this lab."""
    return [path for path in sorted(RESULT_CACHE.glob("*")) if _names(path, f"{work}/")]


def mounts(below: Path) -> list[Path]:
    """What is mounted below a directory, innermost first."""
    return _mounts(below)


def cgroups(work: Path) -> list[Path]:
    """The cgroup directories of a lab that exist."""
    return _cgroup_directories(cgroup_of(work))


def members(work: Path) -> list[int]:
    """The processes in them."""
    return list(_members(cgroup_of(work)))


def _names(path: Path, text: str) -> bool:
    try:
        entry = json.loads(path.read_text())
        config = base64.b64decode(entry["config"]).decode()
    except (OSError, ValueError, KeyError, TypeError, binascii.Error):
        return False
    return text in config or text in json.dumps(entry.get("result"))


def _end_processes(work: Path, cgroup: str) -> list[Path]:
    """Kill until none is left; returns the namespaces in /run/netns (podman's) they lived in."""
    deadline, inodes = time.monotonic() + _END_S, set[int]()
    while (pids := {*_runtimes(work), *_members(cgroup)}) and time.monotonic() < deadline:
        for pid in pids:
            inodes.add(inode(Path(f"/proc/{pid}/ns/net")))
            kill(pid)
        time.sleep(0.02)
    return [path for path in NETNS_DIR.glob("netns-*") if inode(path) in inodes - {0}]


def _runtimes(work: Path) -> Iterator[int]:
    """Runtime processes with a path of the lab among their arguments."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name in _RUNTIMES and any(f"{work}/" in word for word in words):
                yield int(entry.name)


def _members(cgroup: str) -> Iterator[int]:
    for directory in _cgroup_directories(cgroup):
        with suppress(OSError):
            yield from map(int, (directory / "cgroup.procs").read_text().split())


def _cgroup_directories(cgroup: str) -> list[Path]:
    """In every hierarchy (v1, v2 or both), innermost first."""
    name = cgroup.lstrip("/")
    tops = [CGROUPS / name, *CGROUPS.glob(f"*/{name}")]
    found = [
        Path(directory)
        for top in tops
        if not top.parent.is_symlink()
        for directory, _, _ in os.walk(top)
    ]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def _remove_cgroups(cgroup: str) -> None:
    """The kernel refuses while a process that was killed is still on its way out."""
    deadline = time.monotonic() + _END_S
    while directories := _cgroup_directories(cgroup):
        for path in directories:
            with suppress(OSError):
                path.rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def inode(space: Path) -> int:
    """Of a namespace by any of its paths; 0 if it has gone, as those of other labs may at any moment."""
    try:
        return space.stat().st_ino
    except OSError:
        return 0


def shim_sockets(work: Path) -> list[Path]:
    """Sockets of the lab's shims that exist: in one directory for the machine, named after the pod.

    containerd 1.6, runtime/v2/shim.SocketAddress: the digest of its own socket, namespace and id.
    """
    names = {
        f"{directory.parents[3] / 's'}/k8s.io/{directory.name}"
        for room in ("io.containerd.runtime.v2.task/k8s.io", "io.containerd.grpc.v1.cri/sandboxes")
        for directory in work.glob(f"*/*/*/{room}/*")
    }
    paths = [SHIM_SOCKETS / hashlib.sha256(name.encode()).hexdigest() for name in sorted(names)]
    return [path for path in paths if path.exists()]


def _mounts(below: Path) -> list[Path]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [Path(point) for point in reversed(points) if point.startswith(f"{below}/")]
