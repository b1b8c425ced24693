"""What is sent to one peer, round by round, and what came of it. Pure: the engine sends, waits and tells.

A round ends when all of it has been answered, or its time is up. Small packets first; what is missing is asked for
again before anything is believed; if small ones pass and full ones do not, the largest that passes is searched; if
nothing comes back, the peer's underlay address is asked.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from agent.probes.search import Search
from agent.probes.targets import Target
from overlay.model import Family

SMALL = {Family.V4: 84, Family.V6: 104}
"""As ping sends by default: 56 bytes of data."""
LOSSY = 3
"""So many times the copies, where packets are lost by chance."""


class Where(Enum):
    """Which of a peer's addresses."""

    INSIDE = "through the tunnel"
    UNDERLAY = "outside of it"


@dataclass(frozen=True, slots=True)
class Shot:
    """One echo request; ``size`` is that of the whole IP packet."""

    where: Where
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to ask: ``bursts`` rounds of ``small`` and ``large`` packets, ``again`` copies of what is missing.

    ``first`` small packets go before all, and are no part of the round trips: a neighbour may have to be found.
    ``doubt`` small packets go last to a peer of which nothing came back.
    """

    first: int = 0
    small: int = 1
    large: int = 1
    bursts: int = 1
    again: int = 2
    doubt: int = 0


LIGHT = Plan()
WARY = Plan(doubt=20)
"""For a peer that answered last time: of nine packets lost of ten, all of these are lost one time in ten."""
TABLE = Plan(first=1, small=3, large=2, doubt=40)
THOROUGH = Plan(first=1, small=5, large=2, bursts=4, again=3, doubt=40)
"""One time in a hundred."""


@dataclass(slots=True)
class Measured:
    """What came of it. ``sent`` and ``back`` are for small packets; of large ones, ``large_sent`` and ``large_back``.

    ``unreachable`` is what a host or router said of the peer's underlay address, ``refused`` what our own kernel said.
    """

    sent: int = 0
    back: int = 0
    large_sent: int = 0
    large_back: int = 0
    largest: int = 0
    rtts_s: list[float] = field(default_factory=list)
    underlay_asked: bool = False
    underlay_answers: bool = False
    unreachable: str = ""
    refused: str = ""
    too_long_here: bool = False
    heard: bool = False
    """Packets of the peer's own probes arrive here."""
    heard_there: bool | None = None
    """Ours arrive there, as the peer's agent says; None where it was not asked, or did not answer: ``far_said``."""
    far_said: str = ""
    far_answers: bool = False
    own_rule: str = ""
    own_mend: str = ""
    """A firewall rule of this node that drops the tunnel's packets, and the command that mends it."""


class Course:
    """``hint`` is the largest packet of last time, 0 if there is none: it costs two rounds less if it is the same."""

    def __init__(self, target: Target, plan: Plan = LIGHT, *, hint: int = 0) -> None:
        self.target, self.measured = target, Measured()
        self._plan, self._hint = plan, hint
        self._small = min(SMALL[target.family], target.full)
        self._came: Counter[Shot] = Counter()
        self._first_rtts_s: list[float] = []
        self._rounds = self._steps()

    def next(self) -> tuple[Shot, ...]:
        """The next round; empty at the end."""
        return next(self._rounds, ())

    def answered(self, shot: Shot, rtt_s: float) -> None:
        """One of the round's requests came back."""
        self._came[shot] += 1
        if shot.where is Where.UNDERLAY:
            self.measured.underlay_answers = True
            return
        self.measured.rtts_s.append(rtt_s)
        self.measured.largest = max(self.measured.largest, shot.size)
        self.measured.back += shot.size == self._small
        self.measured.large_back += shot.size == self.target.full

    def refused(self, shot: Shot, why: str, *, too_long: bool = False) -> None:
        """Our own kernel did not send it."""
        if too_long:
            self.measured.too_long_here = True
        elif shot.where is Where.INSIDE:
            self.measured.refused = why

    @property
    def patience_s(self) -> float:
        """How long a round waits, once it is known how long answers take; 0 while it is not."""
        known = self.measured.rtts_s or self._first_rtts_s
        return max(0.2, 4 * max(known)) if known else 0.0

    # --- the rounds --------------------------------------------------------------------------------

    def _steps(self) -> Iterator[tuple[Shot, ...]]:
        plan, measured, full = self._plan, self.measured, self.target.full
        if plan.first:
            yield self._asked(self._small, plan.first)
        else:
            yield from self._bursts()
        if not measured.back:
            yield self._asked(self._small, plan.again)
        if not measured.back:
            measured.underlay_asked = True
            outside = (Shot(Where.UNDERLAY, SMALL[self.target.family]),) * plan.again
            yield outside + self._asked(self._small, plan.doubt)
        if measured.back and plan.first:
            self._first_rtts_s, measured.rtts_s = measured.rtts_s, []
            yield from self._bursts()
        if not measured.back:
            return
        if not measured.large_back:
            yield self._asked(full, self._again) + self._asked(self._small, plan.again)
        if not measured.large_back and full > self._small:
            yield from self._searched(full)

    def _bursts(self) -> Iterator[tuple[Shot, ...]]:
        plan = self._plan
        for _ in range(plan.bursts):
            yield self._asked(self._small, plan.small) + self._asked(self.target.full, plan.large)
            if not self.measured.back:
                return

    def _searched(self, full: int) -> Iterator[tuple[Shot, ...]]:
        """A small one goes last in each round: where it is lost as well, size is not the reason."""
        search = Search(self._small, full - 1)
        if self._small < self._hint < full - 1:
            yield self._copies((self._hint, self._hint + 1))
            if self._passed(self._hint):
                search.low = self._hint
                search.high = full - 1 if self._passed(self._hint + 1) else self._hint
        while not search.done:
            sizes = search.sizes()
            yield self._copies(sizes) + self._asked(self._small, 1)
            search.heard([size for size in sizes if self._passed(size)])

    def _copies(self, sizes: tuple[int, ...]) -> tuple[Shot, ...]:
        return tuple(Shot(Where.INSIDE, size) for size in sizes for _ in range(self._again))

    @property
    def _again(self) -> int:
        """Where small ones are lost as well, chance has to be kept from being taken for a hole."""
        return self._plan.again * (LOSSY if self.measured.back < self.measured.sent else 1)

    def _passed(self, size: int) -> bool:
        return self._came[Shot(Where.INSIDE, size)] > 0

    def _asked(self, size: int, count: int) -> tuple[Shot, ...]:
        if size == self._small:
            self.measured.sent += count
        if size == self.target.full:
            self.measured.large_sent += count
        return (Shot(Where.INSIDE, size),) * count
