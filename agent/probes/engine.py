"""Many peers asked at once through one door: sends each course's rounds, matches what comes back, ends what is late.

An answer is believed if identifier, token and number are ours, it came from where the question was sent, is as long as
that, and is the first one. Everything else changes nothing.
"""

import errno
import heapq
import itertools
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from agent.probes.course import Course, Shot, Where
from agent.probes.packets import Heard, Reply, Request, Unreachable
from overlay.errors import KernelRefused
from overlay.model import Address

TIMEOUT_S = 1.0
FIRST, MOST = 1.5, 3.0
"""So many times as long for a first round: a neighbour that has to be found first is asked for after a second once more
(RetransTimer of ARP and RFC 4861); and at most for any, where answers take long."""


class Door(Protocol):
    """agent.probes.echo.Echo, or a fake with the same contract."""

    ident: int
    token: bytes

    def listen(self, source: Address) -> None:
        """Hear what comes for an address of ours."""

    def send(self, source: Address, target: Address, *, number: int, size: int) -> None:
        """One request; KernelRefused if our own kernel does not send it."""

    def receive(self, wait_s: float) -> Iterable[tuple[Heard, float]]:
        """What has come, and when."""

    def close(self) -> None:
        """For good, or until the next use."""


@dataclass(slots=True)
class Counters:
    """Since the start; ``ignored`` are answers that bore our identifier and were not to be believed."""

    sent: int = 0
    answered: int = 0
    lost: int = 0
    ignored: int = 0
    finished: int = 0


@dataclass(slots=True, eq=False)
class _Active:
    """A course under way, and the numbers of its round that are still open."""

    course: Course
    open: set[int] = field(default_factory=set)
    until: float = 0.0
    began: float = 0.0
    rounds: int = 0


class Engine:
    """Not thread-safe. ``heard`` is when a probe of an address in ``known`` last arrived here."""

    def __init__(
        self,
        door: Door,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.counters = Counters()
        self.known: set[Address] = set()
        self.heard: dict[Address, float] = {}
        self._door, self._clock, self._timeout_s = door, clock, timeout_s
        self._numbers = itertools.count(1)
        self._pending: dict[int, tuple[_Active, Shot, float]] = {}
        self._by_underlay: dict[Address, list[_Active]] = {}
        self._deadlines: list[tuple[float, int, _Active]] = []
        self._finished: list[Course] = []
        self.busy = 0
        """Courses under way."""

    def add(self, course: Course) -> None:
        """Begin; it comes out of a later `step`."""
        active = _Active(course, began=self._clock())
        self.busy += 1
        self._by_underlay.setdefault(course.target.underlay, []).append(active)
        with suppress(KernelRefused):  # it is only for what others say of the underlay
            self._door.listen(course.target.local)
        self._go_on(active)

    def step(self, wait_s: float) -> list[Course]:
        """Take in what comes within ``wait_s`` or until a round is over; returns the courses that are finished."""
        if self._finished:
            wait_s = 0.0
        elif self._deadlines:
            wait_s = min(wait_s, max(0.0, self._deadlines[0][0] - self._clock()))
        for heard, at in self._door.receive(wait_s):
            match heard:
                case Reply():
                    self._replied(heard, at)
                case Request(source) if source in self.known:
                    self.heard[source] = at
                case Unreachable():
                    self._unreachable(heard)
        now = self._clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            at, _, active = heapq.heappop(self._deadlines)
            if active.open and active.until == at:
                self._close(active)
                self._go_on(active)
        finished, self._finished = self._finished, []
        return finished

    def forget(self, addresses: Iterable[Address]) -> None:
        """Whom to know from now on: everybody else's probes are nothing to us."""
        self.known = set(addresses)
        self.heard = {it: at for it, at in self.heard.items() if it in self.known}

    # --- inside ------------------------------------------------------------------------------------

    def _go_on(self, active: _Active) -> None:
        """Rounds until one has something to wait for."""
        while shots := active.course.next():
            now = self._clock()
            for shot in shots:
                self._send(active, shot, now)
            if active.open:
                active.until = now + self._patience_s(active)
                active.rounds += 1
                heapq.heappush(self._deadlines, (active.until, next(self._numbers), active))
                return
        target = active.course.target
        self.busy -= 1
        self.counters.finished += 1
        same = self._by_underlay[target.underlay]
        same.remove(active)
        if not same:
            del self._by_underlay[target.underlay]
        heard_at = self.heard.get(target.address, float("-inf"))
        active.course.measured.heard = heard_at >= active.began
        self._finished.append(active.course)

    def _patience_s(self, active: _Active) -> float:
        if known_s := active.course.patience_s:
            return min(known_s, self._timeout_s * MOST)
        return self._timeout_s * (1 if active.rounds else FIRST)

    def _send(self, active: _Active, shot: Shot, now: float) -> None:
        target, number = active.course.target, next(self._numbers)
        inside = shot.where is Where.INSIDE
        source = target.source if inside else target.local
        to = target.address if inside else target.underlay
        try:
            self._door.send(source, to, number=number, size=shot.size)
        except KernelRefused as error:
            active.course.refused(shot, str(error), too_long=error.errno == errno.EMSGSIZE)
            return
        self.counters.sent += 1
        active.open.add(number)
        self._pending[number] = active, shot, now

    def _replied(self, reply: Reply, at: float) -> None:
        if reply.ident != self._door.ident:
            return  # somebody else's ping
        active, shot, sent_at = self._pending.get(reply.number, (None, None, 0.0))
        if active is None or shot is None:
            return  # too late, or once more
        target = active.course.target
        asked = (target.underlay,) if shot.where is Where.UNDERLAY else target.answers_from
        right = reply.source in asked and reply.size == shot.size
        if not right or reply.token != self._door.token:
            self.counters.ignored += 1
            return
        del self._pending[reply.number]
        active.open.discard(reply.number)
        self.counters.answered += 1
        active.course.answered(shot, max(0.0, at - sent_at))
        if not active.open:
            self._go_on(active)

    def _unreachable(self, said: Unreachable) -> None:
        for active in self._by_underlay.get(said.target, ()):
            target = active.course.target
            if target.port == said.port:
                by = "" if said.source == target.underlay else f", says {said.source}"
                active.course.measured.unreachable = said.why + by

    def _close(self, active: _Active) -> None:
        """What is still open is lost."""
        self.counters.lost += len(active.open)
        for number in active.open:
            del self._pending[number]
        active.open.clear()
