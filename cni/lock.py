"""One attachment, one verb at a time; different attachments never wait for each other.

A runtime that gives up on an ADD kills the program it started and sends a DEL, while the agent may
still be at work on that ADD: without a lock the DEL finds nothing and the ADD then finishes a pod
that nobody will ever take down.

Locked is one byte of one file, at an offset that follows from the owner's digest: no file per pod
to clean up, no two pods on one byte, and the kernel lets go of it when its holder dies. The lock
belongs to the open file, not to the process, so it holds between the agent's threads as well
(fcntl(2), "Open file description locks").
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cni.owner import Owner
from overlay.errors import NotReady

LOCK_NAME = "attachments.lock"
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""
_OFFSETS = 1 << 62


@contextmanager
def held(run_dir: Path, owner: Owner) -> Iterator[None]:
    """Hold the attachment's lock; waits for whoever has it.

    Raises:
        NotReady: the run directory cannot be written.
    """
    place = int(owner.digest, 16) % _OFFSETS
    request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    descriptor = _open(run_dir)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, request)
        yield
    finally:
        os.close(descriptor)


def _open(run_dir: Path) -> int:
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        return os.open(run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NotReady(
            f"{run_dir} cannot be written: {error.strerror}", hint=f"df {run_dir}"
        ) from error
