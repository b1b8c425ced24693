"""Both executables, installed: each test that asks for ``install_front`` runs once per front."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cni import install

ROOT = Path(__file__).resolve().parents[3]
InstallFront = Callable[..., Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled front, built from the source as it is now (CFLAGS may add sanitizers)."""
    output = tmp_path_factory.mktemp("front") / "front"
    subprocess.run([ROOT / "tools" / "build-front", output], check=True, capture_output=True)
    if not output.exists():
        reason = "no C compiler: the compiled front is not tested (make setup)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; CI=true forbids to skip it")
        pytest.skip(reason)
    return output


@pytest.fixture(params=["compiled", "python"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two."""
    return str(request.param)


@pytest.fixture
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose path is short enough for a socket."""
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def install_front(
    kind: str, run_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> InstallFront:
    """Install it with ``run_dir`` written in; keywords replace single settings."""

    def installed(**changes: Any) -> Path:  # noqa: ANN401 - fields of Settings
        wanted = replace(install.settings(str(run_dir)), **changes)
        program = request.getfixturevalue("built") if kind == "compiled" else Path("unused")
        path, was = install.write(tmp_path / "bin", wanted, kind=kind, program=program)
        assert was == kind
        return path

    return installed


@pytest.fixture
def program(install_front: InstallFront) -> Path:
    """The executable as an installation has it."""
    return install_front()
