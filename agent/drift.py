"""What others undid of ours: counted, said, and answered ever more slowly while the fight goes on."""

import logging

from overlay.model import Step

log = logging.getLogger(__name__)

GAP_FIRST_S, GAP_MOST_S, CALM_S = 0.3, 30.0, 10.0
"""Pause before the next repair asked for by an event: doubles until nothing was undone for CALM_S."""
MOST_KEPT = 20


class Drift:
    """``changes`` counts repairs since the start, ``last`` has the latest in words."""

    def __init__(self) -> None:
        self.changes = 0
        self.last: list[str] = []
        self.not_before = 0.0
        self._fights = 0
        self._when = float("-inf")

    def mended(self, steps: list[Step], *, now: float) -> None:
        """These steps put right what somebody else changed."""
        self._fights = self._fights + 1 if now - self._when < CALM_S else 1
        self._when = now
        self.not_before = now + min(GAP_MOST_S, GAP_FIRST_S * 2 ** min(self._fights, 10))
        self.changes += len(steps)
        self.last = [str(step) for step in steps[:MOST_KEPT]]
        log.warning(
            "kernel differed from what we set, mending changes=%d first=%r",
            len(steps),
            self.last[0],
        )
