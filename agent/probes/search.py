"""The largest packet that comes back, found in few rounds. Pure.

A path passes every size up to some number and none above it. Each round asks for several sizes at once, which divide
what is still unknown, so that a round shrinks it by ``rungs`` + 1. What came back is believed and nothing else: a
size that was lost by chance makes the answer smaller than the truth, never larger.
"""

from collections.abc import Collection


class Search:
    """``low`` has come back, ``high`` is the largest size that still may. Done when they meet."""

    def __init__(self, low: int, high: int, *, rungs: int = 7) -> None:
        self.low, self.high = low, max(low, high)
        self._rungs = rungs
        self._asked: tuple[int, ...] = ()

    @property
    def done(self) -> bool:
        """``low`` is the answer."""
        return self.low >= self.high

    def sizes(self) -> tuple[int, ...]:
        """What to ask for in this round, the smallest first; empty once done."""
        span = self.high - self.low
        steps = min(span, self._rungs)
        if steps == span:
            self._asked = tuple(range(self.low + 1, self.high + 1))
        else:
            self._asked = tuple(
                self.low + step * span // (steps + 1) for step in range(1, steps + 1)
            )
        return self._asked

    def heard(self, came_back: Collection[int]) -> None:
        """The end of a round: which of its sizes came back, at least one packet of each."""
        passed = [size for size in self._asked if size in came_back]
        self.low = max((self.low, *passed))
        missed = [size for size in self._asked if size > self.low]
        self.high = max(self.low, min((self.high, *(size - 1 for size in missed))))
        self._asked = ()
