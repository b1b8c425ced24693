"""Fixtures of the contract ring: for CNI a node that is ready, and pods; a registry whose calls are counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.registry import Registry
from tests.contract import spaces
from tests.contract.cni_node import V4, V6, Node
from tests.contract.etcd_server import Server
from tests.contract.faults import Faulty
from tests.contract.nodes import Counting


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


@pytest.fixture
def faulty(space: Path, tmp_path: Path) -> Faulty:
    """A node that is ready, and whose bridge and run directory a first pod has been through."""
    faulty = Faulty(Node(space, tmp_path))
    with spaces.namespace() as first:
        faulty.call("ADD", first, "first")
        faulty.call("DEL", first, "first")
    return faulty


@pytest.fixture
def store(etcd_server: Server) -> Iterator[Counting]:
    """A client that counts."""
    client = Counting(etcd_server.url)
    yield client
    client.close()


@pytest.fixture
def registry(store: Counting, prefix: str) -> Registry:
    """An empty registry; claimants that doubt wait briefly."""
    return Registry(store, prefix, answer_s=0.2)
