"""Fixtures of the contract ring: a real kernel and a real etcd, both private."""

import itertools
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.contract import spaces
from tests.contract.etcd_server import Server

settings.register_profile("ring", max_examples=50, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ring"))
"""The unit ring is run before every commit; HYPOTHESIS_PROFILE=long looks longer."""


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold names that are no UTF-8; a report travels between processes as UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report
