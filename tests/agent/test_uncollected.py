"""uncollected: the search for garbage goes on afterwards, whatever happened, and stays off where it was off."""

import gc

import pytest

from agent.uncollected import uncollected


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
