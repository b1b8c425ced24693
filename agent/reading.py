"""Reading a file that anybody may have put there: a pipe or a device of that name holds nobody up."""

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 1 << 20


def beginning(path: Path, most: int = MOST_BYTES) -> bytes:
    """The first bytes of a regular file, or of what a link leads to.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    # Opened without waiting, or a named pipe would wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is neither a file nor a link to one", str(path))
        return file.read(most)
