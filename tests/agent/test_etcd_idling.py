"""What keeps a waiting watch from waking for nothing is missed where it is gone."""

import pytest
from grpc import _common

from agent.etcd import idling


def test_this_grpc_lets_its_waiters_be_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has the limit no more, or by another name, says so here; a watch works as well, with more wakeups."""
    monkeypatch.setattr(_common, "MAXIMUM_WAIT_TIMEOUT", 0.1)
    assert idling.be_woken()
    assert _common.MAXIMUM_WAIT_TIMEOUT == idling.LOOK_AGAIN_S
    monkeypatch.delattr(_common, "MAXIMUM_WAIT_TIMEOUT")
    assert not idling.be_woken()
    assert not hasattr(_common, "MAXIMUM_WAIT_TIMEOUT")
