"""The demo itself is a promise: it runs, and leaves nothing behind."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def _namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True)
    return {line.split()[0] for line in listed.stdout.splitlines()}


def test_the_demo_tells_the_truth_and_cleans_up() -> None:
    """Exit code 0, the closing table, and not one namespace more than before."""
    before = _namespaces()

    ran = subprocess.run(
        [sys.executable, "-m", "e2e.demo"], check=False, capture_output=True, text=True
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 changes" in ran.stdout
    assert "everything was taken down" in ran.stdout
    assert _namespaces() <= before
