"""What all rings of whole nodes share: what is built is built once per session."""

from pathlib import Path

import pytest

from e2e import images, libcni
from e2e.images import Images


@pytest.fixture(scope="session")
def built_images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """pause and busybox."""
    directory: Path = tmp_path_factory.mktemp("images")
    return images.build(directory)


@pytest.fixture(scope="session")
def libcni_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client on Debian's libcni."""
    return libcni.build(tmp_path_factory.mktemp("libcni"))
