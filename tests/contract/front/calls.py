"""Calling an installed executable the way a runtime does."""

import json
import subprocess
from pathlib import Path

CONF = b'{"cniVersion":"1.0.0","name":"overlay","type":"overlay"}'
SHOW = ("/bin/sh", "-c", 'printf "%s|" "${OVERLAY_RUN_DIR-unset}"; exec cat')
"""Stands in for the full program: shows the run directory it is given, and its stdin."""


def call(program: Path, stdin: bytes, **environ: str) -> tuple[int, bytes, bytes]:
    """(exit code, stdout, stderr), with nothing but ``environ`` in the environment."""
    done = subprocess.run([program], input=stdin, capture_output=True, env=environ, timeout=30)
    return done.returncode, done.stdout, done.stderr


def refusal(answer: tuple[int, bytes, bytes]) -> tuple[int, str]:
    """(code, msg) of a call that failed in proper form, in words that no runtime takes for success."""
    code, stdout, stderr = answer
    assert (code, stderr) == (1, b"")
    error = json.loads(stdout)
    assert error["cniVersion"] == "1.0.0"
    words = error["msg"].lower()
    assert "not found" not in words
    assert "no such file or directory" not in words
    return error["code"], error["msg"]
