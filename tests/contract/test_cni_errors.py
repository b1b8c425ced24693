"""Every system call that changes something fails once, or from then on: a clear error, and nothing half-done."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract import spaces
from tests.contract.faults import Ended, Faulty, addresses_in, points
from tests.contract.spaces import difference, inside, picture

pytestmark = [pytest.mark.contract, pytest.mark.timeout(120)]

SWALLOWED = ("not found", "no such file or directory")
"""Runtimes take a failed DEL that says so for a success."""
AGAIN = 11
NEVER = 999
FROM_THEN_ON = "+"


@pytest.mark.parametrize(
    ("call", "error", "codes", "lasting"),
    [
        ("mkdir", "EROFS", {AGAIN}, FROM_THEN_ON),
        ("symlink", "ENOSPC", {AGAIN}, FROM_THEN_ON),
        ("rename", "ENOSPC", {AGAIN}, FROM_THEN_ON),
        ("sendto", "ENOBUFS", {AGAIN}, ""),
        ("socket", "EMFILE", {AGAIN}, ""),
        ("recvfrom", "ENOBUFS", {AGAIN}, ""),
    ],
)
def test_an_add_that_is_refused_something_leaves_nothing(
    faulty: Faulty, call: str, error: str, codes: set[int], lasting: str
) -> None:
    """An error with a code of ours and words of ours, or a whole pod; and the next ADD works."""
    before = picture(faulty.node.space)
    refused = 0
    with ExitStack() as stack:

        def attempt(number: int) -> Ended:
            pods.append(stack.enter_context(spaces.namespace()))
            if call == "mkdir":  # else all directories are there
                shutil.rmtree(faulty.node.run_dir / "attachments", ignore_errors=True)
                shutil.rmtree(faulty.node.run_dir / "ipam", ignore_errors=True)
            fault = f"{call}:error={error}:when={number}{lasting}"
            return faulty.attempt(fault, "ADD", pods[-1], f"c{number}")

        pods: list[Path] = []
        for number, ended in points(attempt):
            if ended.code == 0:
                inside(pods[-1], "ping", "-c1", "-W9", "10.5.1.1")
                assert faulty.call("DEL", pods[-1], f"c{number}") == {}
                continue
            refused += 1
            assert (ended.answer["code"] in codes, ended.err) == (True, ""), ended
            assert not faulty.attached(f"c{number}")
            assert addresses_in(pods[-1]) == set()
            assert [one for one in faulty.files() if f"c{number}@" in one] == []
            assert faulty.call("DEL", pods[-1], f"c{number}") == {}
        assert faulty.call("DEL", pods[-1], f"c{len(pods)}") == {}
        assert refused > 0

    faulty.sweep()
    assert faulty.files() == []
    assert difference(before, picture(faulty.node.space)) == []


@pytest.mark.parametrize(
    ("call", "error", "lasting"),
    [
        ("unlink", "EROFS", FROM_THEN_ON),
        ("unlink", "EIO", ""),
        ("readlink", "EIO", FROM_THEN_ON),
        ("socket", "EMFILE", FROM_THEN_ON),
        ("sendto", "ENOBUFS", ""),
        ("recvfrom", "ENOBUFS", ""),
    ],
)
def test_a_del_that_is_refused_something_is_never_taken_for_done(
    faulty: Faulty, call: str, error: str, lasting: str
) -> None:
    """Its words are none that a runtime swallows, the address stays held, and the next DEL finishes."""
    before = picture(faulty.node.space)
    with ExitStack() as stack:

        def attempt(number: int) -> Ended:
            pods.append(stack.enter_context(spaces.namespace()))
            assert "ips" in faulty.call("ADD", pods[-1], f"c{number}")
            fault = f"{call}:error={error}:when={number}{lasting}"
            return faulty.attempt(fault, "DEL", pods[-1], f"c{number}")

        pods: list[Path] = []
        for number, ended in points(attempt):
            assert ended.code in (0, 1), ended
            left = [one for one in faulty.files() if f"c{number}@" in one]
            if ended.code == 0:
                assert (left, faulty.attached(f"c{number}")) == ([], False)
                continue
            assert (ended.answer["code"] != NEVER, ended.err) == (True, ""), ended
            assert not [words for words in SWALLOWED if words in ended.out.lower()]
            assert left
            assert faulty.call("DEL", pods[-1], f"c{number}") == {}

    assert faulty.files() == []
    assert difference(before, picture(faulty.node.space)) == []


def test_an_answer_that_nobody_takes_leaves_a_pod_that_the_del_finds(faulty: Faulty) -> None:
    """A runtime that died has closed the pipe; whatever the ADD did, the DEL undoes it."""
    with ExitStack() as stack:

        def attempt(number: int) -> Ended:
            pods.append(stack.enter_context(spaces.namespace()))
            fault = f"write:error=EPIPE:when={number}+"
            return faulty.attempt(fault, "ADD", pods[-1], f"c{number}")

        pods: list[Path] = []
        for number, ended in points(attempt):
            assert ended.code != 0, ended
            assert faulty.call("DEL", pods[-1], f"c{number}") == {}
        assert faulty.call("DEL", pods[-1], f"c{len(pods)}") == {}

    faulty.sweep()
    assert (faulty.files(), faulty.links()) == ([], [])
