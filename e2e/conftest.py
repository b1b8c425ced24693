"""What all rings of whole nodes share: images are built once per session."""

from pathlib import Path

import pytest

from e2e import images
from e2e.images import Images


@pytest.fixture(scope="session")
def built_images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """pause and busybox."""
    directory: Path = tmp_path_factory.mktemp("images")
    return images.build(directory)
