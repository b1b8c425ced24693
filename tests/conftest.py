"""Fixtures of the contract ring: a real kernel and a real etcd, both private."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import spaces
from tests.contract.etcd_server import Server


@pytest.fixture
def space() -> Iterator[Path]:
    """The path of a throw-away network namespace."""
    with spaces.namespace() as path:
        yield path


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the session; tests use prefixes of their own."""
    work = tmp_path_factory.mktemp("etcd")
    server = Server(work)
    yield server
    server.stop()
    shutil.rmtree(work, ignore_errors=True)


_NUMBERS = itertools.count()


@pytest.fixture
def prefix() -> str:
    """A prefix nobody else uses."""
    return f"/test{next(_NUMBERS)}/network"
