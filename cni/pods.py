"""Is a pod still there? The proof is its network namespace, never its age.

A pod is alive while the path that the runtime named leads to the namespace that the ADD found there, or,
should the runtime have taken that path away, while any process lives in that namespace. The kernel
gives the lowest free inode number to the next namespace, so a new pod may well have a dead one's: what
tells them apart is the veth pair, which dies with either of its namespaces. Where it is gone nobody can
answer for the address any more. Doubt keeps something that is dead; it never takes away what lives.
"""

import contextlib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cni import attach, sight
from cni.record import Attachment
from overlay.errors import OverlayError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PREFIX, _SUFFIX = "net:[", "]"


@functools.cache  # no process outlives a boot
def boot_id() -> str:
    """The kernel's name for the time since it started; empty where it does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Lives:
    """One look at the machine: the boot, and the namespaces that processes live in."""

    boot: str
    inhabited: frozenset[int]

    @classmethod
    def look(cls) -> "Lives":
        """Read /proc once."""
        return cls(boot_id(), frozenset(_inhabited()))

    def pod_is_gone(self, record: Attachment) -> bool:
        """True only with proof."""
        if record.boot and self.boot and record.boot != self.boot:
            return True
        there = sight.inode_at(record.netns)
        if not record.netns_inode:  # a record of before inodes were kept
            return there == 0
        if there == record.netns_inode:
            return False
        return record.netns_inode not in self.inhabited or _has_lost_its_link(record)


def _has_lost_its_link(record: Attachment) -> bool:
    with contextlib.suppress(OverlayError):
        return bool(record.host_link) and not attach.is_attached(record.owner)
    return False  # it cannot be told


def ways_in() -> Mapping[int, str]:
    """A path into every namespace that a process lives in or a mount holds; mounts, which last, win."""
    return {**_inhabited(), **_mounted("1", sight.MACHINE), **_mounted("self")}


def _inhabited() -> dict[int, str]:
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                path = f"/proc/{name}/ns/net"
                found.setdefault(_number(os.readlink(path)), path)
    return found


def _mounted(process: str, root: str = "") -> dict[int, str]:
    """From mountinfo (proc(5)): id, parent, device, root, mount point, …; for nsfs root is net:[inode]."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc", process, "mountinfo").read_text(errors="replace").splitlines():
            fields = line.split(" ")
            if len(fields) > 4 and fields[3].startswith(_PREFIX):
                with contextlib.suppress(ValueError):
                    number, path = _number(fields[3]), root + fields[4]
                    if sight.seen(path) == number:  # it may be hidden behind a later mount
                        found[number] = path
    return found


def _number(name: str) -> int:
    """4026532008 of ``net:[4026532008]``."""
    return int(name.removeprefix(_PREFIX).removesuffix(_SUFFIX))
