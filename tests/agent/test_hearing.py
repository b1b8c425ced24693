"""hearing: a watch that hangs is found, and nothing else is taken for one."""

import pytest

from agent.hearing import SURE_S, Hearing


class Clock:
    """Set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At zero."""
    return Clock()


def test_a_watch_that_stays_silent_is_found(clock: Clock) -> None:
    """Only after the loop has seen it for a while: a process that was stopped is late with everything."""
    hearing = Hearing(clock, patience_s=90)

    assert not hearing.deaf(300, etcd_answers=True)
    clock.now = SURE_S - 1
    assert not hearing.deaf(300 + clock.now, etcd_answers=True)
    clock.now = SURE_S
    assert hearing.deaf(300 + clock.now, etcd_answers=True)


@pytest.mark.parametrize(("heard_s_ago", "etcd_answers"), [(None, True), (89, True), (300, False)])
def test_what_is_no_deafness(clock: Clock, heard_s_ago: float | None, etcd_answers: bool) -> None:
    """No list yet, a quiet etcd, an etcd that is away; and it is counted anew after each of them."""
    hearing = Hearing(clock, patience_s=90)
    assert not hearing.deaf(300, etcd_answers=True)
    clock.now = SURE_S + 1
    assert not hearing.deaf(heard_s_ago, etcd_answers=etcd_answers)
    assert not hearing.deaf(300, etcd_answers=True)
