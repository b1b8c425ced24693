"""Pods' links that others bend again and again: paced, named and shown as agent.drift does it for what a node has."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.culprits import UNKNOWN, Culprit, Sign, likely
from agent.drift import FIGHT, gap_s, suspects
from agent.processes import Process
from overlay.model import Bridge

CALM_S = 10.0
"""So long after its pause a link that was left alone is no more fought over."""
_ANY = Bridge("", "", 0)
"""Who is known to touch links: the same programs."""


@dataclass(slots=True)
class _Bout:
    place: str
    until: float
    times: int = 1
    culprit: Culprit = UNKNOWN

    def __str__(self) -> str:
        return (
            f"link of pod {self.place} bent {self.times} times in a row, so it is put right only every "
            f"{gap_s(self.times):g} s now; likely: {self.culprit}; next: {self.culprit.advice}"
        )


class PodFights:
    """By the name of the host's end. ``running`` lists programs; ``clock`` is monotonic, in seconds."""

    def __init__(
        self,
        *,
        running: Callable[[], Iterable[Process]] = suspects,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._running, self._clock = running, clock
        self._bouts: dict[str, _Bout] = {}

    def count(self, link: str, place: str) -> str:
        """It was put right just now; a sentence to be said where a fight begins, else empty."""
        now = self._clock()
        bout = self._bouts.get(link)
        if bout is None or now - bout.until >= CALM_S:
            self._bouts = {
                name: it for name, it in self._bouts.items() if now - it.until < CALM_S
            } | {link: _Bout(place, now)}
            return ""
        times = bout.times + 1
        if times == FIGHT:  # named before it is a fight: other threads tell of those as they are
            bout.culprit = likely(_ANY, Sign(), self._running())
        bout.until = now + gap_s(times)
        bout.times = times
        return str(bout) if times == FIGHT else ""

    def waits(self, link: str) -> bool:
        """Whether its pause has yet to end."""
        bout = self._bouts.get(link)
        return bout is not None and bout.until > self._clock()

    def now(self) -> dict[str, str]:
        """The fights that go on; for any thread."""
        now = self._clock()
        return {
            f"fight over link of pod {bout.place}": str(bout)
            for bout in tuple(self._bouts.values())
            if bout.times >= FIGHT and now - bout.until < CALM_S
        }
