"""A question to the reconcile loop that never waits long: where the loop hangs, the last answer has to do.

However many ask, one question at most is under way, so a loop that hangs for an hour has one to catch up on.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from agent.loop import Job
from agent.reconcile import Reconciler

log = logging.getLogger(__name__)
T = TypeVar("T")


class Latest(Generic[T]):
    """``post`` is a loop's; ``gather`` is called in its thread and must be quick."""

    def __init__(self, post: Callable[[Job], None], gather: Callable[[Reconciler], T]) -> None:
        self._post, self._gather = post, gather
        self._news = threading.Condition()
        self._asked = self._answered = 0
        self._value: T | None = None
        self._at = 0.0

    def get(self, *, wait_s: float) -> tuple[T | None, float]:
        """The loop's answer, and its age in seconds; None if there has never been one."""
        with self._news:
            if self._asked == self._answered:
                self._asked += 1
                self._post(self._answer)
            wanted = self._asked
            self._news.wait_for(lambda: self._answered >= wanted, wait_s)
            age = time.monotonic() - self._at if self._value is not None else 0.0
            return self._value, age

    def _answer(self, reconciler: Reconciler) -> None:
        value = None
        try:
            value = self._gather(reconciler)
        except Exception:  # or a scrape could end the loop, and the agent with it
            log.exception("the metrics of the reconcile loop could not be gathered")
        with self._news:
            self._answered = self._asked
            if value is not None:
                self._value, self._at = value, time.monotonic()
            self._news.notify_all()
