"""etcdhealth: one sentence about etcd, with the time it is true since; said once per outage."""

import pytest

from agent.etcdhealth import CALLS, WATCH, EtcdHealth
from tests.agent.one_node import Clock


def test_an_outage_has_a_beginning_and_a_length(caplog: pytest.LogCaptureFixture) -> None:
    """The wall clock may be set meanwhile: the length does not change, nor the beginning."""
    clock, wall = Clock(), Clock()
    health = EtcdHealth(clock, wall)
    health.back(CALLS)
    assert (health.state, health.sentence()) == ("connected", "connected")

    health.lost(WATCH, "connection refused")
    clock.now += 61
    wall.now -= 500
    health.lost(CALLS, "deadline")
    assert health.sentence() == (
        "unreachable since 1970-01-01 00:16:40 UTC (1 min 1 s): connection refused"
    )
    assert sum("away" in text for text in caplog.messages) == 1


def test_it_is_back_when_both_ways_are() -> None:
    """A call may be answered by a member that has no stream for us."""
    health = EtcdHealth(Clock(), Clock())
    health.lost(WATCH, "reset")
    health.lost(CALLS, "refused")

    health.back(CALLS)
    assert health.facts()["why"] == "reset"
    health.back(WATCH)
    assert health.fine
    assert health.facts()["why"] == ""
