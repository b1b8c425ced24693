"""What others undid of ours: said, kept, and in a fight answered ever more slowly, object by object.

Theory of operation. An event that is not explained leaves a *sign* (what became of the object, traces of who did
it) and asks for a look. The look finds the differences, the loop mends them, and what was mended comes back here
as steps: summed up by root cause, named, logged in one line, noted in the history. An object that meets the same
fate again and again is fought over: one warning with the likely name and what to do, a line in the status, gone
when it is calm, and a pause before it is mended that doubles. The pause of one object holds up no other.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from agent import processes
from agent.culprits import NAMES, UNKNOWN, Culprit, Sign, likely
from agent.drifthistory import History
from agent.processes import Process
from agent.undone import EXTRA, GONE, SHAKEN, Undone, device, kind, many_of, summed
from overlay.model import KernelObject, Step, Vxlan

log = logging.getLogger(__name__)

GAP_FIRST_S, GAP_MOST_S = 0.5, 30.0
"""Pause before an object is mended again in a fight: doubles while it goes on."""
CALM_S = 120.0
"""So long after the last mending a fight is over: others look at their work once a minute or so, too."""
FIGHT = 4
"""Times in a row, in the same way, that make a fight."""
MOST_KEPT, MOST_WATCHED = 20, 4096
NEW_S = 10.0
"""A device is new for so long: what udev does to it, it does by then."""
LOOK_AGAIN_S = 30.0
"""So long the list of running programs is believed."""
SIGN_S = 60.0
"""So long a sign is believed to belong to the damage that is found."""
_NO_SIGN = Sign()


def gap_s(times: int) -> float:
    """Seconds to wait before what was undone so many times in a row is mended again."""
    if times < FIGHT:
        return 0.0
    return min(GAP_MOST_S, GAP_FIRST_S * 2.0 ** min(times - FIGHT, 10))


def suspects() -> Iterable[Process]:
    """The running programs that are known to change what is ours."""
    return processes.here(NAMES)


@dataclass(slots=True)
class _Bout:
    """How often in a row an object was undone, first and last when; ``culprit`` of the last time."""

    label: str
    first: float
    last: float
    times: int = 1
    culprit: Culprit = UNKNOWN

    @property
    def gap_s(self) -> float:
        return gap_s(self.times)

    @property
    def over_at(self) -> float:
        return self.last + CALM_S


class Drift:
    """``changes`` counts repairs since the start, ``last`` has the latest in words. ``running`` lists programs."""

    def __init__(
        self,
        history: History | None = None,
        *,
        running: Callable[[], Iterable[Process]] = lambda: (),
    ) -> None:
        self.changes = 0
        self.by_kind: Counter[tuple[str, str]] = Counter()
        """Deeds since the start, by kind of object and what became of it: gone, extra or altered."""
        self.last: list[str] = []
        self.history = history or History()
        self._running = running
        self._programs: tuple[float, tuple[Process, ...]] = (float("-inf"), ())
        self._signs: dict[Hashable, tuple[Sign, float]] = {}
        self._bouts: dict[tuple[Hashable, str], _Bout] = {}  # by object and fate
        self._made: dict[str, float] = {}

    def saw(self, signs: Mapping[Hashable, Sign], now: float) -> None:
        """Events say that these objects were touched."""
        if len(self._signs) > MOST_WATCHED:
            self._signs = {key: it for key, it in self._signs.items() if now - it[1] < GAP_MOST_S}
        if len(self._signs) <= MOST_WATCHED:
            self._signs |= {key: (sign, now) for key, sign in signs.items()}

    def made(self, link: str, now: float) -> None:
        """We have made a device."""
        self._made[link] = now

    def paused_until(self, key: Hashable, fate: str, item: KernelObject | None) -> float:
        """Until when an object that met a fate is left so, or 0. A lost device's pause is that of all on it."""
        if not self._bouts:
            return 0.0
        keys = [(key, fate)]
        if item is not None:
            link = ("link", device(item))
            keys += [(many_of(item), fate), *((link, it) for it in (GONE, "up", SHAKEN))]
        bouts = (self._bouts.get(one) for one in keys)
        return max((bout.last + bout.gap_s for bout in bouts if bout is not None), default=0.0)

    def looked(self, now: float) -> None:
        """What events said before is settled, but for what is in a pause."""
        self._signs = {
            key: (sign, at)
            for key, (sign, at) in self._signs.items()
            if self.paused_until(key, sign.fate, None) > now
        }

    def mended(self, steps: list[Step], *, now: float) -> None:
        """These steps have put right what somebody else changed."""
        self._forget(now)
        fresh = {key: sign for key, (sign, at) in self._signs.items() if now - at < SIGN_S}
        deeds = summed(steps, fresh)
        named = [(deed, self._culprit(deed, steps, fresh, now)) for deed in deeds]
        known = {key for key, bout in self._bouts.items() if bout.times >= FIGHT}
        for deed, culprit in named:
            self._count(deed, culprit, now)
            word = deed.fate if deed.fate in (GONE, EXTRA) else "altered"
            self.by_kind[kind(deed.item), word] += 1
        self.changes += len(steps)
        self.last = [str(step) for step in steps[:MOST_KEPT]]
        self.history.note((it.label, it.fate, it.change, it.did, str(who)) for it, who in named)
        self._say([pair for pair in named if (pair[0].key, pair[0].fate) not in known], len(steps))
        for key in self._bouts.keys() - known:
            if self._bouts[key].times >= FIGHT:
                log.warning("%s", self._fight(self._bouts[key]))

    def fights(self, now: float) -> dict[str, str]:
        """For the status: who fights us over what, and what to do; calm ones are gone."""
        self._forget(now)
        own = {
            f"fight over {bout.label}": self._fight(bout)
            for bout in self._bouts.values()
            if bout.times >= FIGHT
        }
        return {**own, **self.history.fights()}

    # --- inside ----------------------------------------------------------------------------------

    def _count(self, deed: Undone, culprit: Culprit, now: float) -> None:
        bout = self._bouts.get((deed.key, deed.fate))
        if bout is None:
            if len(self._bouts) < MOST_WATCHED:
                self._bouts[deed.key, deed.fate] = _Bout(deed.label, now, now, culprit=culprit)
            return
        bout.times, bout.last = bout.times + 1, now
        if culprit is not UNKNOWN:
            bout.culprit = culprit

    def _forget(self, now: float) -> None:
        for key, bout in list(self._bouts.items()):
            if now >= bout.over_at:
                del self._bouts[key]
                if bout.times >= FIGHT:
                    log.info("calm again: %s, undone %d times", bout.label, bout.times)

    def _culprit(
        self, deed: Undone, steps: list[Step], signs: Mapping[Hashable, Sign], now: float
    ) -> Culprit:
        item = deed.item
        seen, programs = self._programs
        if now - seen > LOOK_AGAIN_S:
            programs = tuple(self._running())
            self._programs = (now, programs)
        was = next((step.was for step in steps if step.object is item), None)
        new_mac = (
            isinstance(item, Vxlan)
            and isinstance(was, Vxlan)
            and was.mac != item.mac
            and now - self._made.get(item.name, float("-inf")) < NEW_S
        )
        sign = signs.get(item.key, _NO_SIGN)
        return likely(item, sign, programs, new_mac=new_mac)

    def _fight(self, bout: _Bout) -> str:
        return (
            f"{bout.label} undone {bout.times} times within {bout.last - bout.first:.0f} s, so it is put "
            f"right only every {bout.gap_s:g} s now; likely: {bout.culprit}; next: {bout.culprit.advice}"
        )

    def _say(self, named: list[tuple[Undone, Culprit]], changes: int) -> None:
        if not named:
            return  # a fight that was told
        what = "; ".join(str(deed) for deed, _ in named[:3])
        more = f"; and {len(named) - 3} more (overlayctl drift)" if len(named) > 3 else ""
        names = dict.fromkeys(str(culprit) for _, culprit in named)
        log.warning(
            "mended what others changed: %s%s; changes=%d likely=%s; look: overlayctl drift",
            what,
            more,
            changes,
            ", ".join(names),
        )
