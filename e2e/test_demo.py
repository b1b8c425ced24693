"""The demo itself is a promise: it runs, and leaves nothing behind."""

import signal
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


def test_ctrl_c_takes_everything_down() -> None:
    """Interrupted in the middle: no namespace, no process, no directory is left."""
    before = _namespaces()
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "e2e.demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("5."):
            break
    demo.send_signal(signal.SIGINT)

    rest = demo.communicate(timeout=60)[0]
    assert demo.returncode == 130, rest
    assert _namespaces() <= before
