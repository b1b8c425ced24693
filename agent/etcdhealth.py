"""Does etcd answer, since when, and what did it say last.

Two tell it, for one may fail without the other: the watch's stream and the calls of the life. It answers
while neither of them waits.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from agent.moment import span, utc

log = logging.getLogger(__name__)

CALLS, WATCH = "calls", "watch"
CONNECTING, CONNECTED, UNREACHABLE = "connecting", "connected", "unreachable"


class EtcdHealth:
    """``clock`` is monotonic, ``wall`` is for people; both in seconds."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.state = CONNECTING
        self.outages = 0
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._since_wall, self._since = wall(), clock()
        self._away: dict[str, str] = {}

    def lost(self, who: str, why: str) -> None:
        """``who`` (CALLS or WATCH) gets no answer. Said once per outage; the reason is kept up to date."""
        with self._lock:
            self._away[who] = why
            news = self._enter(UNREACHABLE)
            self.outages += news
        if news:
            log.warning("etcd is away, the kernel stays as it is: %s; look: overlayctl etcd", why)

    def back(self, who: str) -> None:
        """``who`` has got an answer."""
        with self._lock:
            self._away.pop(who, None)
            if self._away:
                return
            away_s = self._clock() - self._since
            was, news = self.state, self._enter(CONNECTED)
        if news:
            after = f" again after {span(away_s)}" if was == UNREACHABLE else ""
            log.info("etcd answers%s", after)

    @property
    def fine(self) -> bool:
        """True while it answers."""
        return self.state == CONNECTED

    def sentence(self) -> str:
        """Such as: unreachable since 2026-01-01 00:00:00 UTC (3 min 1 s): the reason."""
        with self._lock:
            if self.state == CONNECTED:
                return self.state
            why = f": {self._why()}" if self._away else ""
            return f"{self.state} since {utc(self._since_wall)} ({span(self._clock() - self._since)}){why}"

    def facts(self) -> dict[str, Any]:
        """For status, as JSON."""
        sentence = self.sentence()
        with self._lock:
            return {
                "state": self.state,
                "text": sentence,
                "since": utc(self._since_wall),
                "for_s": round(self._clock() - self._since, 1),
                "why": self._why(),
            }

    def _why(self) -> str:
        return next(iter(self._away.values()), "")

    def _enter(self, state: str) -> bool:
        if self.state == state:
            return False
        self.state, self._since, self._since_wall = state, self._clock(), self._wall()
        return True
