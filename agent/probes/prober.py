"""The agent's continuous probe: each peer once per interval, in a thread of its own, bounded in packets and memory.

Off (interval 0) its thread sleeps and nothing is kept; one peer is still asked for whoever asks, as `overlayctl probe`
of another node does to tell which direction is blocked. What it finds is in the status, in `report` for metrics and
mesh, and, when a peer's state changes, in the log.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agent.loop import Loop
from agent.probes.course import LIGHT, WARY, Course
from agent.probes.echo import Echo
from agent.probes.engine import Counters, Engine
from agent.probes.judge import judge
from agent.probes.result import Result, named, worst_first
from agent.probes.schedule import Schedule
from agent.probes.targets import Id, Target, targets
from agent.probes.track import NEVER, Track
from agent.reconcile import Reconciler
from overlay.desired import Me
from overlay.errors import OverlayError
from overlay.model import Lease, Network

log = logging.getLogger(__name__)

MOST_PER_S = 200.0
"""Peers, not packets: some three packets each while all is well. So many more stretch the interval."""
MOST_AT_ONCE = 256
FRESH_S = 5.0
"""How often the list of peers is looked at."""
SOON_SHARE, SOON_LEAST_S, MOST_SOON = 4, 2.0, 50
"""A peer that fails has its next turn after that part of an interval, as long as not more than so many fail."""
MOST_LOGGED, LOG_EVERY_S = 10, 60.0
ASK_TIMEOUT_S, PATIENCE_S = 10.0, 4.0
AGAIN_S = 10.0


class Prober:
    """``report``, ``trouble``, ``summary`` and ``once`` may be called in any thread."""

    def __init__(self, loop: Loop, *, interval_s: float, prefix: str) -> None:
        self.interval_s = interval_s
        self._loop, self._prefix = loop, prefix
        self._echo = Echo()
        self._engine = Engine(self._echo)
        self._schedule = Schedule(interval_s, most_per_s=MOST_PER_S)
        self._tracks: dict[Id, Track] = {}
        self._targets: dict[Id, Target] = {}
        self._seen: tuple[int, Me | None] = (-1, None)
        self._looked_at = float("-inf")
        self._failing: set[Id] = set()
        self._told = 0
        self._told_since = float("-inf")
        self._stopping, self._woken = threading.Event(), threading.Event()
        self._one = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._woken.set()

    def follow(self, interval_s: float) -> None:
        """Another interval, or 0 for none, from now on."""
        self.interval_s = interval_s
        self._woken.set()

    # --- what it says ------------------------------------------------------------------------------

    @property
    def counters(self) -> Counters:
        """Of packets, since the start."""
        return self._engine.counters

    def results(self) -> list[Result]:
        """The last of each endpoint, the worst first."""
        found = [track.result for track in list(self._tracks.values()) if track.result is not None]
        return worst_first(found)

    def report(self) -> list[dict[str, Any]]:
        """The same for JSON, metrics and mesh."""
        return [result.row() for result in self.results()]

    def summary(self) -> dict[str, Any]:
        """How many endpoints are in which state."""
        states = Counter[str](result.state for result in self.results())
        return {"interval_s": self.interval_s, **states}

    def trouble(self) -> dict[str, str]:
        """For ``overlayctl status``: the worst few, by name."""
        return named(self.results())

    def targets(self) -> list[Target]:
        """Whom this node can ask now; waits for the reconcile loop.

        Raises:
            OverlayError: it does not answer.
        """
        stance = self._loop.ask(_stance, timeout_s=ASK_TIMEOUT_S)
        return [] if stance is None else targets(*stance)

    def once(self, key: str) -> list[Result]:
        """Ask one peer now, lightly. Empty if it is none of ours, or others have been asked for a while.

        Raises:
            OverlayError: the reconcile loop does not answer.
        """
        wanted = [target for target in self.targets() if target.key == key]
        if not wanted or not self._one.acquire(timeout=PATIENCE_S):
            return []
        try:
            with Echo() as echo:
                engine = Engine(echo)
                engine.forget(target.address for target in wanted)
                for target in wanted:
                    engine.add(Course(target, LIGHT))
                done: list[Course] = []
                while engine.busy or len(done) < len(wanted):
                    done += engine.step(1.0)
            now = time.time()
            return [judge(it.target, it.measured, at=now, prefix=self._prefix) for it in done]
        finally:
            self._one.release()

    # --- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._schedule.every_s != self.interval_s:
                    self._begin()
                if self.interval_s:
                    self._turn()
                else:
                    self._woken.wait()
                    self._woken.clear()
            except OverlayError as error:
                log.info("peers cannot be probed, trying again: %s", error)
                self._stopping.wait(AGAIN_S)
            except Exception:  # a thread that ended here would be missed by nobody for weeks
                log.exception("peers cannot be probed")
                self._stopping.wait(AGAIN_S)
        self._echo.close()

    def _begin(self) -> None:
        """Anew: what there was belongs to another interval."""
        self._schedule = Schedule(self.interval_s, most_per_s=MOST_PER_S)
        self._tracks, self._targets = {}, {}
        self._failing.clear()
        self._seen, self._looked_at = (-1, None), float("-inf")
        if not self.interval_s:
            self._echo.close()

    def _turn(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= FRESH_S:
            self._looked_at = now
            self._look(now)
        if self._engine.busy < MOST_AT_ONCE:
            for who in self._schedule.due(now):
                track = self._tracks[who]
                plan = WARY if track.silent_since == NEVER else LIGHT
                self._engine.add(Course(self._targets[who], plan, hint=track.hint))
        for course in self._engine.step(self._wait_s(now)):
            self._took(course)

    def _wait_s(self, now: float) -> float:
        """Turns of a tenth of a second are taken together: a waking costs more than a packet."""
        return min(1.0, max(0.1, self._schedule.wait_s(now)))

    def _look(self, now: float) -> None:
        """Has the list of peers changed? It is copied only then."""
        seen = self._loop.ask(_version, timeout_s=ASK_TIMEOUT_S)
        if seen == self._seen:
            return
        self._seen = seen
        self._targets = {target.id: target for target in self.targets()}
        self._tracks = {who: self._tracks.get(who) or Track() for who in self._targets}
        self._failing &= self._targets.keys()
        self._schedule.keep(self._targets, now)
        self._engine.forget(target.address for target in self._targets.values())

    def _took(self, course: Course) -> None:
        track = self._tracks.get(course.target.id)
        if track is None:
            return  # it has left meanwhile
        before = track.result
        target, now = course.target, time.monotonic()
        heard_at = self._engine.heard.get(target.address, float("-inf"))
        course.measured.heard = heard_at > track.silent_since
        result = track.took(target, course.measured, now=now, at=time.time(), prefix=self._prefix)
        if result.state == "ok":
            self._failing.discard(target.id)
        else:
            self._failing.add(target.id)
            if len(self._failing) <= MOST_SOON:
                soon = max(SOON_LEAST_S, self.interval_s / SOON_SHARE)
                self._schedule.hurry(target.id, now + soon)
        if result.state != (before.state if before else "ok"):
            self._tell(result)

    def _tell(self, result: Result) -> None:
        now = time.monotonic()
        if now - self._told_since > LOG_EVERY_S:
            left = self._told - MOST_LOGGED
            if left > 0:
                log.warning("probe: %d more peers changed their state", left)
            self._told_since = now
            self._told = 0
        self._told += 1
        if self._told > MOST_LOGGED:
            return
        name = result.node or result.key
        if result.state == "ok":
            log.info("probe %s: packets pass again, up to %d bytes", name, result.largest)
        else:
            log.warning("probe %s: %s; next: %s", name, result.why, result.next)


def _version(reconciler: Reconciler) -> tuple[int, Me | None]:
    """In the loop's thread."""
    return reconciler.demand.roll.version, reconciler.me if reconciler.synced_once else None


def _stance(reconciler: Reconciler) -> tuple[Network, Me, Sequence[Lease]] | None:
    """In the loop's thread; the leases are values. None before the kernel has been told of any peer."""
    network, me = reconciler.network, reconciler.me
    if network is None or me is None or not reconciler.synced_once:
        return None
    return network, me, list(reconciler.demand.roll.leases.values())
