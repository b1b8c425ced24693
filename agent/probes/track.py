"""One endpoint's past, as far as it matters for what is said of it now. Pure, and bounded."""

from collections import deque
from dataclasses import dataclass, field

from agent.probes.course import Measured
from agent.probes.judge import Loss, judge, loss
from agent.probes.result import Result
from agent.probes.targets import Target

WINDOW = 10
"""Turns that the loss is counted over."""
TOLERATED = 0.05
"""The share of packets that a network may lose now and then; none is perfect."""
NEVER = float("inf")


@dataclass(slots=True)
class Track:
    """``result`` is what came of the last turn; ``silent_since`` is on the caller's clock, NEVER while it answers."""

    window: deque[Loss] = field(default_factory=lambda: deque(maxlen=WINDOW))
    result: Result | None = None
    silent_since: float = NEVER

    def took(
        self, target: Target, measured: Measured, *, now: float, at: float, prefix: str = ""
    ) -> Result:
        """One more turn, at wall time ``at``. An outage is no loss: what counts begins when it has ended."""
        if self.silent_since < NEVER or not measured.back:
            self.window.clear()
        self.silent_since = NEVER if measured.back else min(self.silent_since, now)
        self.window.append(loss(measured))
        self.result = judge(
            target,
            measured,
            at=at,
            window=(sum(sent for sent, _ in self.window), sum(lost for _, lost in self.window)),
            tolerated=TOLERATED,
            prefix=prefix,
        )
        return self.result

    @property
    def hint(self) -> int:
        """The size to begin a search with."""
        hole = self.result is not None and self.result.state == "black hole"
        return self.result.largest if hole and self.result else 0
