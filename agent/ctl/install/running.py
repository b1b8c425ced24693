"""Does the agent that runs still run what is laid down? By time, so that an upgrade that was killed is finished."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import agent
import cni
import overlay

PROC = Path("/proc")
_GRAIN_S = 0.05
"""Of the clocks involved: a scheduler tick each."""


def stale(pid: int, laid: Iterable[Path]) -> str:
    """Why the agent should start anew: what has changed since its start; empty if nothing has, or none runs.

    ``laid`` are the files that it reads. What has a time to come says nothing.
    """
    began, now = started(pid), time.time()
    if not began:
        return ""
    for path, changed in [*((it, _written(it)) for it in laid), *_code()]:
        if began + _GRAIN_S < changed <= now:
            return f"{path} is newer than what runs"
    return ""


def started(pid: int) -> float:
    """When a process began, in Unix seconds; 0 if there is none."""
    with suppress(OSError, IndexError, ValueError):
        ticks = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
        since_boot = ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    return 0.0


def _code() -> Iterator[tuple[Path, float]]:
    """The newest file of the packages. Its inode's time: installers set the other one as they like."""
    found = [
        (path.stat().st_ctime, path)
        for package in (overlay, cni, agent)
        for path in Path(package.__path__[0]).rglob("*.py")
    ]
    if found:
        newest, path = max(found)
        yield path, newest


def _written(path: Path) -> float:
    """By its inode's time, as a backup that is put back has the other one of before; and what a link leads to."""
    times = [0.0]
    for look in (path.lstat, path.stat):
        with suppress(OSError):
            times.append(look().st_ctime)
    return max(times)
