"""How often etcd is asked again: the one policy, used by every loop that waits for it.

Full jitter: after the n-th failure in a row a pause drawn evenly from 0 to min(30 s, 1 s * 2^(n-1)). Even
draws keep 5,000 nodes that lose etcd at one instant apart from each other for as long as it is away: at most
7,000 attempts in the first second (when it may be back at once), then fewer, and about 333 a second from the
first minute on. A node notices an etcd that is back within 30 s, half of them within 10 s.
(tests/agent/test_retry.py computes these figures.)
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import tenacity

from overlay.errors import OverlayError

FIRST_S = 1.0
MOST_S = 30.0
STEADY_S = 10.0
"""A connection that lived this long was a good one. An etcd that answers and dies at once, again and again,
gets longer pauses as one that does not answer at all."""

WAIT = tenacity.wait_random_exponential(multiplier=FIRST_S, max=MOST_S)


def retrying(
    stopping: threading.Event,
    *,
    wake: threading.Event | None = None,
    before_sleep: Callable[[tenacity.RetryCallState], None] | None = None,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = OverlayError,
) -> tenacity.Retrying:
    """Call it with what to try: ``retrying(event)(attempt)``. ``wake`` ends a pause; set it with ``stopping``.

    Raises:
        tenacity.RetryError: ``stopping`` was set before an attempt succeeded.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(retry_on),
        wait=WAIT,
        sleep=tenacity.sleep_using_event(stopping) if wake is None else partial(_sleep, wake),
        stop=tenacity.stop_when_event_set(stopping),
        before_sleep=before_sleep,
    )


def _sleep(wake: threading.Event, seconds: float) -> None:
    wake.wait(seconds)
    wake.clear()


class Allowance:
    """So many times within so many seconds, whenever they come: for what news may ask for all the time."""

    def __init__(
        self, times: int, *, within_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._within_s = clock, within_s
        self._taken: deque[float] = deque(maxlen=times)

    def take(self) -> bool:
        """True if this is one of them."""
        now = self._clock()
        full = len(self._taken) == self._taken.maxlen
        if full and now - self._taken[0] < self._within_s:
            return False
        self._taken.append(now)
        return True


def reconnects() -> Allowance:
    """New connections because the host's addresses changed, at most.

    A boot brings a few. Each fails the calls under way, and it takes 5 s of them to know that a member is silent.
    """
    return Allowance(5, within_s=75.0)


class Pauses:
    """The same policy for a loop that makes progress between its failures, such as a watch.

    ``failed`` says how long to wait; ``progressed`` says that something was heard. Not for several threads.
    """

    def __init__(
        self, *, most_s: float = MOST_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._wait = tenacity.wait_random_exponential(multiplier=FIRST_S, max=most_s)
        self._state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        self._failures = 0
        self._good_since: float | None = None

    @property
    def failures(self) -> int:
        """In a row, 0 after steady progress."""
        return self._failures

    def progressed(self) -> None:
        """Something was heard; after STEADY_S of this the next failure counts as the first."""
        if self._good_since is None:
            self._good_since = self._clock()
        elif self._clock() - self._good_since >= STEADY_S:
            self._failures = 0

    def failed(self) -> float:
        """Seconds to wait before the next attempt."""
        self._good_since = None
        self._failures += 1
        self._state.attempt_number = self._failures
        return float(self._wait(self._state))

    def wait(self, stopping: threading.Event) -> bool:
        """Note a failure and wait; True once ``stopping`` is set."""
        return stopping.wait(self.failed())
