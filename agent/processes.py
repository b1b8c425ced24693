"""Which programs run beside us, by /proc: only those in our network namespace can touch what is ours."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_MOST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Process:
    """``name`` is the kernel's: at most 15 characters."""

    pid: int
    name: str


def here(beginnings: Collection[str], *, proc: Path = PROC) -> Iterator[Process]:
    """Those whose name begins with one of these; reads a small file per process of the machine."""
    starts = tuple(beginnings)
    own = inode(proc / "self/ns/net")
    try:
        pids = [name for name in os.listdir(proc) if name.isdigit()] if own else []
    except OSError:
        return
    for pid in pids:
        name = read(proc / pid / "comm")
        if name.startswith(starts) and inode(proc / pid / "ns/net") == own:
            yield Process(int(pid), name)


def at(pid: int, *, proc: Path = PROC) -> Process | None:
    """The process (or thread) of a number, if it lives, is another than we, and in our network namespace."""
    if pid <= 0 or pid == os.getpid():
        return None
    name = read(proc / str(pid) / "comm")
    own = inode(proc / "self/ns/net")
    return Process(pid, name) if name and own == inode(proc / str(pid) / "ns/net") else None


def read(path: Path) -> str:
    """The beginning of a file of /proc; empty if there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode(errors="replace").rstrip("\n")
    except OSError:
        return ""


def inode(path: Path) -> int:
    """What tells one namespace from another; 0 if it cannot be seen."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0
