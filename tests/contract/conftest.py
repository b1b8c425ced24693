"""Fixtures of the contract ring for CNI: a node that is ready, and pods."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import spaces
from tests.contract.cni_node import V4, V6, Node


@pytest.fixture
def node(space: Path, tmp_path: Path) -> Node:
    """A node that is ready, IPv4 only."""
    return Node(space, tmp_path / "run")


@pytest.fixture
def dual(space: Path, tmp_path: Path) -> Node:
    """A node with both families."""
    return Node(space, tmp_path / "run", (V4, V6))


@pytest.fixture
def pod() -> Iterator[Path]:
    """An empty pod."""
    with spaces.namespace() as path:
        yield path


@pytest.fixture
def other() -> Iterator[Path]:
    """Another one."""
    with spaces.namespace() as path:
        yield path
