"""The unit files: systemd reads every key of them, and calls them no more exposed than we say."""

import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "agent" / "files"
SHIPPED = ("overlay-agent.service", "overlay-agent@.service")
PROGRAM = "/opt/overlay/bin/overlay-agent"
MOST_EXPOSED = 35
"""Tenths, of `systemd-analyze security`; without any hardening it is 96."""


def _analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("shipped", SHIPPED)
def test_a_unit_file_is_valid(tmp_path: Path, shipped: str) -> None:
    """No unknown key, no bad value; a stub stands in for the agent."""
    stub = tmp_path / "overlay-agent"
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    unit = tmp_path / shipped.replace("@", "@blue")
    unit.write_text((FILES / shipped).read_text().replace(PROGRAM, str(stub)))

    done = _analyze("verify", "--recursive-errors=no", unit)

    assert done.returncode == 0, done.stdout + done.stderr
    assert unit.name not in done.stderr, done.stderr


@pytest.mark.parametrize("shipped", SHIPPED)
def test_a_unit_is_as_hardened_as_the_docs_say(shipped: str) -> None:
    """docs/service.md has what stays open, and why."""
    limit = f"--threshold={MOST_EXPOSED}"
    done = _analyze("security", "--offline=true", limit, FILES / shipped)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_unit_of_a_further_network_differs_in_its_name_only() -> None:
    """What is mended in one of them is mended in both."""
    one, many = ((FILES / name).read_text() for name in SHIPPED)
    for theirs, ours in (
        (" of %i", ""),
        (" --instance %i", ""),
        ("overlay-%i", "overlay"),
    ):
        many = many.replace(theirs, ours)
    assert [line for line in many.splitlines() if not line.startswith("# One network more")] == (
        one.splitlines()
    )
