"""overlayctl in a pipe whose reader has gone, or onto a disk that is full: a sentence and an honest exit code."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("| true; exit ${PIPESTATUS[0]}", (2, 141), ""),
        ("> /dev/full", (1,), "No space left on device"),
    ],
)
def test_where_nobody_reads_nothing_is_said_to_be_well(
    tmp_path: Path, where: str, code: tuple[int, ...], said: str
) -> None:
    """No agent runs: 2, or that the pipe was closed, never 0 or 1; no traceback."""
    words = f"{sys.executable} -m agent.ctl.main status --run-dir {tmp_path} {where}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
    assert done.returncode in code
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert bool(done.stderr) is bool(said)
