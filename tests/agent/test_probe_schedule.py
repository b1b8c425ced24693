"""Whose turn it is: each once per interval, evenly, never too many at once."""

import random

from hypothesis import given, settings
from hypothesis import strategies as some

from agent.probes.schedule import Schedule


def ids(count: int) -> list[tuple[str, int]]:
    """So many endpoints."""
    return [(f"10.5.{number}.0-24", 4) for number in range(count)]


def run(
    schedule: Schedule, begin: float, seconds: float, *, step: float = 0.1
) -> list[tuple[float, tuple[str, int]]]:
    """Ask every tenth of a second."""
    found = []
    for tick in range(int(seconds / step)):
        now = begin + tick * step
        found += [(now, who) for who in schedule.due(now)]
    return found


def test_each_has_its_turn_once_in_an_interval_and_not_all_at_once() -> None:
    """60 peers in a minute: about one a second, from the first minute on."""
    schedule = Schedule(60, most_per_s=200, chance=random.Random(1))
    schedule.keep(ids(60), 1000)
    turns = run(schedule, 1000, 600)
    assert 9 * 60 <= len(turns) <= 11 * 60
    assert {who for _, who in turns} == set(ids(60))
    busiest = max(sum(begin <= at < begin + 5 for at, _ in turns) for begin in range(1000, 1600, 5))
    assert busiest <= 20, "five at an even spread"


def test_more_than_may_be_asked_stretch_the_interval() -> None:
    """And nobody is forgotten."""
    schedule = Schedule(5, most_per_s=10, chance=random.Random(1))
    schedule.keep(ids(1000), 0)
    turns = run(schedule, 0, 220)
    assert len(turns) <= 220 * 10 + 10
    assert {who for _, who in turns} == set(ids(1000))
    assert schedule.interval_s(1000) == 100


@settings(max_examples=50)
@given(
    counts=some.lists(some.integers(0, 40), min_size=1, max_size=6),
    hurried=some.lists(some.integers(0, 39), max_size=10),
)
def test_who_has_left_has_no_turn(counts: list[int], hurried: list[int]) -> None:
    """Whatever came and went before, and whoever was hurried."""
    schedule, now = Schedule(10, most_per_s=100, chance=random.Random(1)), 0.0
    for count in counts:
        schedule.keep(ids(count), now)
        for number in hurried:
            schedule.hurry((f"10.5.{number}.0-24", 4), now + 1)
        turns = run(schedule, now, 12, step=0.5)
        assert {who for _, who in turns} == set(ids(count))
        now += 12


def test_a_hurried_one_is_sooner_and_then_as_often_as_before() -> None:
    """Not twice."""
    schedule = Schedule(60, most_per_s=100, chance=random.Random(1))
    schedule.keep(ids(1), 0)
    first = run(schedule, 0, 61)
    schedule.hurry(ids(1)[0], 62)
    turns = run(schedule, 61, 50)
    assert len(first) == 1
    assert [round(at) for at, _ in turns] == [62]
    assert 0 < schedule.wait_s(111) < 66
