"""tenure: a subnet that may be somebody else's is not given away; clocks of the wall do not count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.moment import Moment, span
from agent.tenure import Tenure
from tests.agent.one_node import Clock


def test_a_node_that_is_cut_off_stops_a_little_before_its_lease_ends() -> None:
    """And goes on once it was renewed; counted from the moment it asked."""
    clock = Clock()
    tenure = Tenure(clock)
    tenure.renewed(100.0, asked_at=clock.now - 5)
    clock.now += 84
    assert tenure.doubt() == ""

    clock.now += 2
    assert "last renewed 1 min 31 s ago and runs 1 min 40 s" in tenure.doubt()

    tenure.renewed(100.0, asked_at=clock.now)
    assert tenure.doubt() == ""


def test_a_day_long_lease_ends_a_minute_early() -> None:
    """The margin covers an ADD that is under way and two clocks that run apart."""
    clock = Clock()
    tenure = Tenure(clock)
    tenure.renewed(86400, asked_at=clock.now)
    clock.now += 86400 - 61
    assert tenure.doubt() == ""
    clock.now += 2
    assert tenure.doubt()


def test_a_reservation_never_ends() -> None:
    """It has no lease in etcd that could."""
    clock = Clock()
    tenure = Tenure(clock)
    tenure.renewed(0.0, asked_at=clock.now)
    clock.now += 1e9

    assert tenure.doubt() == ""


def test_what_an_earlier_life_left_counts_from_its_own_last_renewal() -> None:
    """Or not at all, where that says so."""
    clock = Clock()
    tenure = Tenure(clock)
    tenure.assumed(100.0, age_s=80.0, doubt="")
    assert tenure.doubt() == ""
    clock.now += 20
    assert tenure.doubt()

    tenure.assumed(100.0, age_s=1.0, doubt="the clock is wrong")
    assert tenure.doubt() == "the clock is wrong"
    tenure.ended()
    assert tenure.doubt() == ""


@given(
    wall=st.floats(0, 2e9),
    step=st.floats(-1e9, 1e9),
    boot=st.floats(0, 1e8),
    passed=st.floats(0, 1e8),
)
def test_within_one_boot_a_stepped_clock_changes_no_age(
    wall: float, step: float, boot: float, passed: float
) -> None:
    """However far it was set."""
    then = Moment(wall, boot, "b")
    now = Moment(wall + step, boot + passed, "b")

    assert then.age(now) == now.boot - then.boot


@given(wall=st.floats(0, 2e9), later=st.floats(-1e9, 1e9))
def test_across_boots_an_age_is_never_negative(wall: float, later: float) -> None:
    """None where the clock stands before the moment itself."""
    age = Moment(wall, 9e6, "b1").age(Moment(wall + later, 1.0, "b2"))

    assert age is None or age >= 0
    assert (age is None) == (wall + later - wall < -5.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90000, "1 d 1 h"), (-3, "0 s")],
)
def test_a_duration_for_people(seconds: float, text: str) -> None:
    """The two largest units."""
    assert span(seconds) == text
