"""uncollected: the search for garbage goes on afterwards, whatever happened, and stays off where it was off."""

import gc

import pytest

from agent.demand import Demand
from agent.events import Snapshot
from agent.roll import Roll
from agent.uncollected import uncollected
from tests.agent.one_node import lease
from tests.examples import ME, NETWORK


def test_it_is_put_off_and_goes_on_whatever_happened() -> None:
    """Also after an exception, and after one within another."""
    with uncollected(), uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()

    with pytest.raises(ValueError, match="mid-way"), uncollected():
        raise ValueError("mid-way")
    assert gc.isenabled()


def test_where_it_is_off_it_stays_off() -> None:
    """Who switched it off had a reason."""
    gc.disable()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("known_first", ["the node", "the list"])
def test_no_search_while_the_first_list_is_judged(known_first: str) -> None:
    """Whichever comes first at a start: thousands of objects are made in one go."""
    searched = []
    roll = Roll(clock=lambda: 0.0, wall=lambda: 0.0, keep_s=60.0)
    demand = Demand(roll, lambda _owner, _keys: searched.append(gc.isenabled()))
    first = Snapshot({it.key: it for it in map(lease, range(2, 5))}, {}, 10)
    for what in sorted(["the node", "the list"], key=lambda it: it != known_first):
        if what == "the node":
            demand.set_node(NETWORK, ME)
        else:
            demand.take(first)
    assert searched == [False] * 4, "this node's own share, and three peers'"
