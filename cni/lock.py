"""One attachment, one verb at a time; different attachments never wait for each other.

A runtime that gives up on an ADD kills the program it started and sends a DEL, while the agent may
still be at work on that ADD: without a lock the DEL finds nothing and the ADD then finishes a pod
that nobody will ever take down.

Locked is one byte of one file, at an offset that follows from the attachment's place: no file per pod
to clean up, no two pods on one byte, and the kernel lets go of it when its holder dies. The lock
belongs to the open file, not to the process, so it holds between the agent's threads as well
(fcntl(2), "Open file description locks"). It is asked for again and again rather than waited for: a
thread asleep in the kernel could not keep its deadline.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cni.steps import Steps
from overlay.errors import NotReady

LOCK_NAME = "attachments.lock"
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""
_OFFSETS = 1 << 62
_SHORTEST_S, _LONGEST_S = 0.0005, 0.05
_HELD = {errno.EAGAIN, errno.EACCES}


@contextmanager
def held(run_dir: Path, place: str, steps: Steps) -> Iterator[None]:
    """Hold the lock of the attachment at ``place``; waits for whoever has it, up to the deadline.

    Raises:
        NotReady: the run directory cannot be written, or the time is up.
    """
    steps.at("lock")
    descriptor = _open(run_dir)
    try:
        pause = _SHORTEST_S
        while not _try(descriptor, place):
            steps.at("lock")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_S)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def tried(run_dir: Path, place: str) -> Iterator[bool]:
    """True and hold the lock, or False at once where a verb is at work on that attachment."""
    descriptor = _open(run_dir)
    try:
        yield _try(descriptor, place)
    finally:
        os.close(descriptor)


def _try(descriptor: int, place: str) -> bool:
    name = place.encode(errors="surrogateescape")  # as it stands in a directory
    offset = int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % _OFFSETS
    request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise NotReady(f"the attachment cannot be locked: {error.strerror}") from error
    return True


def _open(run_dir: Path) -> int:
    path, flags = f"{run_dir}/{LOCK_NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags, 0o600)
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise NotReady(
            f"{run_dir} cannot be written: {error.strerror}", hint=f"df {run_dir}"
        ) from error
