"""The loop's thread: a bug ends it and is told, so that nobody has to look whether it still runs."""

import logging

import pytest

from agent.loop import Loop
from agent.reconcile import Reconciler
from tests.agent.one_node import Node


def test_a_bug_ends_the_loop_and_is_told_once_it_can_be_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The main thread, which sleeps, ends the process then."""

    def bug(_: Reconciler) -> None:
        raise ZeroDivisionError("a bug")

    loop = Loop(Node().reconciler, round_s=60, after_round=bug)
    told: list[BaseException | None] = []
    loop.failed = lambda: told.append(loop.failure)
    with caplog.at_level(logging.ERROR):
        loop.start()
        loop.join(10)
    assert told == [loop.failure]
    assert isinstance(loop.failure, ZeroDivisionError)


def test_a_loop_that_is_stopped_has_not_failed() -> None:
    """Nobody is told."""
    loop = Loop(Node().reconciler, round_s=60, after_round=lambda _: None)
    told: list[str] = []
    loop.failed = lambda: told.append("failed")
    loop.start()
    loop.stop()
    loop.join(10)
    assert (loop.is_alive(), told, loop.failure) == (False, [], None)
