"""What keeps grpc's threads from waking for nothing stays with those threads, and is missed where it is gone."""

import threading
from pathlib import Path

import pytest
from grpc import _common

from agent.etcd import idling


def slack_ns(thread: int) -> int:
    """How late the kernel may have a thread's timers expire."""
    return int(Path(f"/proc/{thread}/timerslack_ns").read_text())


def test_only_threads_that_are_started_lazily_are_lazy() -> None:
    """Not the one that starts them: it may have a pod's addition, or a claim, to wait for."""
    own, done = threading.get_native_id(), threading.Event()
    before = slack_ns(own)
    with idling.lazily():
        lazy = threading.Thread(target=done.wait)
        lazy.start()
    brisk = threading.Thread(target=done.wait)
    brisk.start()
    try:
        found = [slack_ns(it.native_id or 0) for it in (lazy, brisk)]
    finally:
        done.set()
        lazy.join()
        brisk.join()
    assert found == [idling.SLACK_NS, before]
    assert slack_ns(own) == before


def test_this_grpc_lets_its_waiters_be_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has the limit no more, or by another name, says so here; a watch works as well, with more wakeups."""
    monkeypatch.setattr(_common, "MAXIMUM_WAIT_TIMEOUT", 0.1)
    assert idling.be_woken()
    assert _common.MAXIMUM_WAIT_TIMEOUT == idling.LOOK_AGAIN_S
    monkeypatch.delattr(_common, "MAXIMUM_WAIT_TIMEOUT")
    assert not idling.be_woken()
    assert not hasattr(_common, "MAXIMUM_WAIT_TIMEOUT")
