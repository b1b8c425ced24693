"""A thread that ends by itself is never missed for weeks."""

import logging
import threading

import pytest

from agent.vital import Vital


@pytest.mark.parametrize(("name", "matters"), [("life", True), ("resolve", False)])
def test_a_thread_that_ends_by_itself_is_said_and_a_vital_one_ends_the_process(
    name: str, matters: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback; systemd starts the agent anew, and the data plane stays meanwhile."""
    stop = threading.Event()
    vital = Vital(("life", "watch"), stop.set)
    monkeypatch.setattr(threading, "excepthook", vital.ended)

    def run() -> None:
        raise ZeroDivisionError("a bug")

    with caplog.at_level(logging.ERROR):
        thread = threading.Thread(target=run, name=name)
        thread.start()
        thread.join()

    assert (stop.is_set(), vital.lost) == ((True, name) if matters else (False, ""))
    assert f"the thread {name} ended by itself" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text
