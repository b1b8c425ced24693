"""Whose turn it is: each once per interval, spread evenly, jittered, and never more than so many in a second. Pure."""

import heapq
import random
from collections.abc import Collection

from agent.probes.targets import Id

JITTER = 0.1
"""Nodes that started together must not ask in step for ever."""


class Schedule:
    """Times are the caller's clock, in seconds. More endpoints than ``most_per_s`` allows stretch the interval."""

    def __init__(
        self, interval_s: float, *, most_per_s: float, chance: random.Random | None = None
    ) -> None:
        self.every_s, self._most_per_s = interval_s, most_per_s
        self._chance = chance or random.Random()
        self._at: dict[Id, float] = {}
        self._heap: list[tuple[float, Id]] = []
        self._credit, self._looked_at = 1.0, float("-inf")

    def keep(self, ids: Collection[Id], now: float) -> None:
        """These and no others; a new one's first turn is anywhere within an interval."""
        for gone in self._at.keys() - set(ids):
            del self._at[gone]
        for new in (it for it in ids if it not in self._at):
            self._put(new, now + self._chance.random() * self.interval_s(len(ids)))

    def interval_s(self, count: int) -> float:
        """What it really is for so many."""
        return max(self.every_s, count / self._most_per_s)

    def due(self, now: float) -> list[Id]:
        """Whose turn has come; each is told once, and has its next one."""
        if self._looked_at > float("-inf"):
            earned = (now - self._looked_at) * self._most_per_s
            self._credit = min(max(self._most_per_s, 1.0), self._credit + earned)
        self._looked_at = now
        found: list[Id] = []
        while self._heap and self._heap[0][0] <= now and self._credit >= 1:
            at, who = heapq.heappop(self._heap)
            if self._at.get(who) != at:
                continue  # gone, or hurried meanwhile
            found.append(who)
            self._credit -= 1
            share = 1 + JITTER * (2 * self._chance.random() - 1)
            self._put(who, now + self.interval_s(len(self._at)) * share)
        return found

    def hurry(self, who: Id, at: float) -> None:
        """Its next turn is then, unless it comes sooner."""
        if at < self._at.get(who, at):
            self._put(who, at)

    def wait_s(self, now: float) -> float:
        """Until the next turn, as far as one is known."""
        return max(0.0, self._heap[0][0] - now) if self._heap else self.every_s

    def _put(self, who: Id, at: float) -> None:
        self._at[who] = at
        heapq.heappush(self._heap, (at, who))
