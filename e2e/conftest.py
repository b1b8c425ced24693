"""What all rings of whole nodes share: what is built is built once per session."""

import os
from pathlib import Path

import pytest

from e2e import images, libcni
from e2e.images import Images


def pytest_addoption(parser: pytest.Parser) -> None:
    """The program may come from anywhere; it is never part of this repository."""
    parser.addoption(
        "--flanneld",
        default=os.environ.get("FLANNELD", ""),
        metavar="PATH",
        help="run the flannel cases against this flanneld instead of a replay of what it does",
    )


@pytest.fixture(scope="session")
def flanneld_program(request: pytest.FixtureRequest) -> Path | None:
    """The real flanneld, if one was given."""
    given = str(request.config.getoption("--flanneld"))
    if not given:
        return None
    path = Path(given).resolve()
    if not os.access(path, os.X_OK):
        raise pytest.UsageError(f"--flanneld {given}: no such program")
    return path


@pytest.fixture(scope="session")
def built_images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """pause and busybox."""
    directory: Path = tmp_path_factory.mktemp("images")
    return images.build(directory)


@pytest.fixture(scope="session")
def libcni_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client on Debian's libcni."""
    return libcni.build(tmp_path_factory.mktemp("libcni"))
