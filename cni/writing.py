"""Writing in the run directory, a tmpfs: by rename, and without fsync, since nothing there outlives a reboot.

Plain calls of `os`: pathlib would be half of what an ADD costs here.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from overlay.errors import NotReady


def replace(path: str, data: bytes) -> None:
    """Write a file by rename, its directory as well; readers see the old bytes or the new ones, never half."""
    beside = fresh(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(beside, flags, 0o600)
    except FileNotFoundError:
        make_directory(os.path.dirname(path))
        descriptor = os.open(beside, flags, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.rename(beside, path)
    except BaseException:
        unlink(beside)
        raise
    finally:
        os.close(descriptor)


def fresh(path: str) -> str:
    """A name beside ``path`` that nobody reads: hidden, and no longer than a file name may be."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.tmp-{name[:100]}-{os.urandom(6).hex()}"


def make_directory(path: str) -> None:
    """With its parents; that it is there is fine."""
    if not os.path.isdir(path):
        os.makedirs(path, mode=0o755, exist_ok=True)


def unlink(path: str) -> None:
    """Remove a file; that it is gone is fine."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@contextlib.contextmanager
def writable(directory: Path) -> Iterator[None]:
    """Turn a full or read-only run directory into a clear error that may be retried."""
    try:
        yield
    except OSError as error:
        raise NotReady(
            f"{directory} cannot be written: {error.strerror}", hint=f"df {directory}"
        ) from error
