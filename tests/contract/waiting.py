"""Waiting by condition."""

import time
from collections.abc import Callable

MOST_S = 30.0


def until(condition: Callable[[], bool], *, most_s: float = MOST_S) -> None:
    """Until it holds; fails after ``most_s``."""
    end = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
