"""The demo itself is a promise: it runs, and leaves nothing behind."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e import leftovers
from e2e.lab import take_down
from e2e.netns import NETNS_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def _work(said: str) -> Path:
    """The lab's directory, from the demo's first line."""
    found = re.search(r"^lab \w+: .* files in (\S+)$", said, re.MULTILINE)
    assert found, said
    return Path(found[1])


def _left(work: Path) -> list[str]:
    """What there still is of a lab; other labs on this machine are not looked at."""
    mark = f"ovl-{work.name.rpartition('-')[2]}-"
    found = [path for path in NETNS_DIR.iterdir() if path.name.startswith(mark)]
    found += [*leftovers.cgroups(work), *leftovers.mounts(work), *leftovers.cached_results(work)]
    return [str(path) for path in found] + ([str(work)] if work.exists() else [])


def _run(module: str, *flags: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", module, *flags]
    return subprocess.run(words, check=False, capture_output=True, text=True)


def test_the_demo_tells_the_truth_and_cleans_up() -> None:
    """Exit code 0, the closing table, and nothing left."""
    ran = _run("e2e.demo")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 changes" in ran.stdout
    assert "everything was taken down" in ran.stdout
    assert _left(_work(ran.stdout)) == []


def test_the_demo_with_containerd_can_be_kept_and_taken_down() -> None:
    """Real containers serve on after the demo has ended, until the lab is taken down."""
    ran = _run("e2e.demo_containerd", "--keep")

    work = _work(ran.stdout)
    try:
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "36 pages" in ran.stdout
        assert leftovers.cgroups(work)
    finally:
        take_down(work)
    assert _left(work) == []


@pytest.mark.parametrize("module", ["e2e.demo", "e2e.demo_containerd"])
def test_ctrl_c_takes_everything_down(module: str) -> None:
    """Interrupted in the middle: no namespace, no process, no directory is left."""
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", module],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if line.startswith(("   pod1 on n1", "7.")):
            break
    work = _work(said)
    try:
        demo.send_signal(signal.SIGINT)
        rest = demo.communicate(timeout=150)[0]
        assert demo.returncode == 130, said + rest
        assert _left(work) == []
    finally:
        demo.kill()
        take_down(work)
