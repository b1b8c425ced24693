"""The retry policy on a clock of its own: 5,000 nodes lose etcd at one instant."""

import random
import threading
from collections import Counter

import pytest
import tenacity

from agent.retry import FIRST_S, MOST_S, STEADY_S, Allowance, Pauses, retrying
from overlay.errors import BadConfig, StoreUnavailable

NODES = 5000
MOST_IN_FIRST_SECOND = 7000
MOST_IN_ANY_LATER_SECOND = 3500
MOST_WHEN_STEADY = 450
"""Attempts of all nodes together in one second; the mean of the steady state is 5,000 / 15 s = 333."""


class Clock:
    """Set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def attempts(away_s: float) -> tuple[Counter[int], list[float]]:
    """Attempts per second while etcd is away, and when each node finds it back."""
    random.seed(5000)  # tenacity draws from the module's generator
    per_second: Counter[int] = Counter()
    found = []
    for _ in range(NODES):
        pauses, now = Pauses(), 0.0
        while now < away_s:
            now += pauses.failed()
            per_second[int(now)] += 1
        found.append(now - away_s)
    return per_second, found


def test_five_thousand_nodes_make_no_storm_and_are_back_soon() -> None:
    """Bounds for every second of an outage of five minutes, and for the return."""
    per_second, found = attempts(300)

    assert per_second[0] < MOST_IN_FIRST_SECOND
    assert max(count for second, count in per_second.items() if second) < MOST_IN_ANY_LATER_SECOND
    steady = [count for second, count in per_second.items() if 60 <= second < 300]
    assert max(steady) < MOST_WHEN_STEADY
    assert max(found) <= MOST_S
    assert sorted(found)[NODES // 2] < 10
    # The return itself is no storm either: lists and watches of all come spread over MOST_S.
    back = Counter(int(moment) for moment in found)
    assert max(back.values()) < MOST_WHEN_STEADY


def test_a_short_outage_is_over_for_all_soon() -> None:
    """One second away: half of the nodes are back a second later, all within 10."""
    _, found = attempts(1)

    assert sorted(found)[NODES // 2] < 1.5
    assert max(found) < 10


def test_steady_progress_makes_the_next_failure_the_first_again() -> None:
    """One answer between two failures does not; an etcd that answers and dies gets longer pauses."""
    clock = Clock()
    pauses = Pauses(clock=clock)
    for _ in range(9):
        assert 0 <= pauses.failed() <= MOST_S
        pauses.progressed()
        clock.now += STEADY_S / 2
        pauses.progressed()
    assert pauses.failures == 9

    clock.now += STEADY_S / 2
    pauses.progressed()

    assert pauses.failures == 0
    assert pauses.failed() <= FIRST_S


def test_what_cannot_succeed_later_is_not_tried_again_unless_asked_for() -> None:
    """Any OverlayError by default; others are raised at once."""
    stopping = threading.Event()
    tries = 0

    def attempt() -> int:
        nonlocal tries
        tries += 1
        raise BadConfig("bad")

    with pytest.raises(BadConfig):
        retrying(stopping, retry_on=StoreUnavailable)(attempt)
    assert tries == 1


def test_waiting_ends_at_once_when_stopping() -> None:
    """The event ends both forms."""
    stopping = threading.Event()
    stopping.set()

    def attempt() -> int:
        raise StoreUnavailable("away")

    with pytest.raises(tenacity.RetryError):
        retrying(stopping)(attempt)
    assert Pauses().wait(stopping)


def test_an_allowance_is_for_the_first_of_a_flood_and_again_later() -> None:
    """A boot's few changes are all served; what changes all the time is not."""
    clock = Clock()
    allowance = Allowance(5, within_s=75.0, clock=clock)
    served = 0
    for _ in range(1000):  # 100 s, ten times a second
        served += allowance.take()
        clock.now += 0.1

    assert served == 10
    clock.now += 75.0
    assert allowance.take()
