"""One agent per run directory: two on one kernel would fight."""

import fcntl
from pathlib import Path
from typing import IO

from overlay.errors import BadConfig


def hold(run_dir: Path) -> IO[str]:
    """Hold ``<run-dir>/agent.lock`` while we live.

    Raises:
        BadConfig: another agent holds it.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        lock = (run_dir / "agent.lock").open("a+")
    except OSError as error:
        raise BadConfig(f"run_dir = {str(run_dir)!r}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BadConfig(
            f"another overlay-agent already runs with run_dir = {str(run_dir)!r}"
        ) from error
    return lock
