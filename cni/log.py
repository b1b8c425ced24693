"""A log of what the executable did without an agent: one line per call, in the run directory, bounded.

A runtime shows a plugin's stderr only where stdout is empty, and nowhere at all on success; with an agent
all of this is in its journal.
"""

import contextlib
import os
import time
from pathlib import Path

LOG_NAME = "cni.log"
MOST_BYTES = 1 << 20
"""Then it becomes ``cni.log.1``, in place of the one before."""


def append(run_dir: Path, text: str) -> None:
    """Add a line; a log that cannot be written stops nothing."""
    path = run_dir / LOG_NAME
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    line = " ".join(f"{stamp} {text}".split()) + "\n"
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode(errors="replace"))
            if os.fstat(descriptor).st_size > MOST_BYTES:
                path.replace(path.with_name(f"{LOG_NAME}.1"))
        finally:
            os.close(descriptor)
