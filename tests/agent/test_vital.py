"""A thread that ends by itself is never missed for weeks."""

import logging
import threading
from pathlib import Path

import pytest

from agent.vital import Vital, show_names


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


def test_a_thread_that_is_of_no_use_ends_the_process_too(caplog: pytest.LogCaptureFixture) -> None:
    """Once, and with the reason."""
    ends: list[int] = []
    vital = Vital(("watch",), lambda: ends.append(1))
    vital.give_up("watch", "has heard nothing for 130 s")
    vital.give_up("watch", "has heard nothing for 131 s")
    assert (vital.lost, ends) == ("watch", [1])
    assert [record.getMessage() for record in caplog.records] == [
        "the thread watch has heard nothing for 130 s: the agent ends, to be started anew"
    ]


def test_threads_can_be_told_apart_from_outside() -> None:
    """By ps -L and top -H, which show 15 letters."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="a-name-longer-than-that")
    thread.start()
    try:
        show_names()
        shown = Path(f"/proc/self/task/{thread.native_id}/comm").read_text()
    finally:
        done.set()
        thread.join()
    assert shown == "a-name-longer-t\n"


def test_a_thread_that_is_started_while_others_are_named_has_its_name_too() -> None:
    """By one that had none yet, whose name it would keep: a worker, where somebody asks at once."""
    done = threading.Event()
    late = threading.Thread(target=done.wait, name="late")
    late.start()
    looks = iter([[threading.main_thread()], [late], []])
    try:
        show_names(lambda: next(looks))
        shown = Path(f"/proc/self/task/{late.native_id}/comm").read_text()
    finally:
        done.set()
        late.join()
    assert shown == "late\n"
