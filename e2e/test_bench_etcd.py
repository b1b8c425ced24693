"""The benchmark of etcd runs as it says, however small, and leaves nothing behind."""

import re
import subprocess
import sys

import pytest

from e2e.netns import NETNS_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
SMALL = [
    "--nodes",
    "30",
    "--storm",
    "16",
    "--full",
    "2",
    "--ttl",
    "9",
    "--quiet",
    "1",
    "--after",
    "0",
]


def test_a_small_run_ends_with_its_line_and_leaves_nothing() -> None:
    """Exit code 0: no subnet twice, no lease lost, and renewals that nobody hears of."""
    ran = subprocess.run(
        [sys.executable, "-m", "e2e.bench_etcd", *SMALL],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    names = ("requests_per_node_hour", "bytes_per_node_hour", "join500_s")
    figures = " ".join(rf"{name}=\d+(\.\d+)?" for name in names)
    closing = ran.stdout.splitlines()[-1]
    assert re.fullmatch(f"RESULT bench-etcd nodes=30 events_per_renewal=0 {figures}", closing)
    (space,) = re.findall(r"namespace (ovl-\S+)", ran.stdout)
    assert not (NETNS_DIR / space).exists()
