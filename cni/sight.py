"""Paths as the machine has them, from a process that may see others: a unit has a /tmp of its own, and where / is not
shared none of the mounts that were made after its start. What it does not see must not count as gone.
"""

import os

MACHINE = "/proc/1/root"
"""The root of the process that no sandbox is around; with CAP_SYS_PTRACE, or as the very same user."""


def device() -> int:
    """All namespaces lie on one device, that of our own."""
    return os.stat("/proc/thread-self/ns/net").st_dev


def inode_at(path: str) -> int:
    """The namespace that a path leads to, here or on the machine, or 0."""
    return seen(path) or (seen(MACHINE + path) if path.startswith("/") else 0)


def way_to(path: str) -> str:
    """The path by which its namespace can be opened; the path itself where it leads to none at all."""
    beyond = MACHINE + path
    return beyond if path.startswith("/") and not seen(path) and seen(beyond) else path


def seen(path: str) -> int:
    """The namespace that this very path leads to, or 0."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return 0
    return found.st_ino if found.st_dev == device() else 0
