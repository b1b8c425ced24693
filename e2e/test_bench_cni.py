"""The benchmark of the plugin runs as it says, however short, and leaves nothing behind."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.lab import MEMORY
from e2e.netns import NETNS_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
SHORT = ("--rounds", "2", "--bursts", "1", "--sandboxes", "1", "--hostile", "1000")


def test_a_short_run_ends_with_its_line_and_leaves_nothing(tmp_path: Path) -> None:
    """Exit code 0, every ratio in the closing line and the file, no namespace and no directory left."""
    page = tmp_path / "times.json"

    ran = subprocess.run(
        [sys.executable, "-m", "e2e.bench_cni", *SHORT, "--json", str(page)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    closing = ran.stdout.splitlines()[-1]
    names = ("add_p50", "add_p99", "del_p50", "del40", "add110_throughput", "sandbox_p50")
    words = " ".join(rf"{name}_ratio=\d+\.\d+" for name in names)
    assert re.fullmatch(f"RESULT bench-cni {words}", closing)
    assert json.loads(page.read_text())["hostile_inputs"] == 1000
    (lab,) = {*re.findall(r"overlay-lab-([0-9a-f]+)", ran.stdout)}
    assert not list(MEMORY.glob(f"*{lab}*"))
    assert not list(NETNS_DIR.glob(f"*{lab}*"))
