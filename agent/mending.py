"""What a full read found changed by others, from then until it is mended and told.

Between agent.reconcile (which reads and applies) and agent.drift (which names, counts and paces).
"""

from collections.abc import Callable, Collection, Hashable, Set
from dataclasses import replace

from agent.drift import Drift
from agent.undone import fate
from overlay.model import Action, Route, Step
from overlay.plan import State, plan


class Mending:
    """Touches no kernel; times are the reconciler's clock."""

    def __init__(self, drift: Drift) -> None:
        self._drift = drift
        self._found: dict[Hashable, Step] = {}
        self._paused: set[Hashable] = set()
        """What we had and was undone, and waits out its pause: reads go on meanwhile, and show it gone."""

    def forget(self) -> None:
        """This node is somebody else now: what differs is our own doing."""
        self._found.clear()
        self._paused.clear()

    def due(
        self,
        differing: Set[Hashable],
        want: State,
        have: State,
        *,
        had: State,
        now: float,
        waiting: Set[Hashable],
    ) -> tuple[set[Hashable], float]:
        """Of what differs, that which may be mended now; and when the first pause of the rest ends (or infinity).

        ``had`` is what the kernel held when it was last known, ``waiting`` are keys that have yet to be applied.
        """
        ready: set[Hashable] = set()
        paused: set[Hashable] = set()
        next_at = float("inf")
        for key in differing:
            wanted, present = want.get(key), have.get(key)
            pause = self._drift.paused_until(key, fate(present, wanted), wanted or present)
            if key in waiting or pause <= now:
                ready.add(key)
            else:
                next_at = min(next_at, pause)
                if wanted is not None and (key in self._paused or had.get(key) == wanted):
                    paused.add(key)
        for step in plan(want, have, ready - waiting):
            key = step.object.key
            ours = key in self._paused or had.get(key) == step.object
            self._found.setdefault(key, _again(step) if ours else step)
        self._paused = paused
        return ready, next_at

    def steps(self, planned: list[Step]) -> list[Step]:
        """How planned steps are to be carried out."""
        return [self._step(step) for step in planned] if self._found else planned

    def _step(self, planned: Step) -> Step:
        found = self._found.get(planned.object.key)
        if found is None or found.object != planned.object or planned.action is not Action.ADD:
            return planned
        return found

    def tell(
        self,
        now: float,
        *,
        want: State,
        waiting: Callable[[], Collection[Hashable]],
        looked: bool,
    ) -> None:
        """All that was found and does not wait any more is mended. ``looked``: the kernel was just read.

        Where something else is wanted by now (a peer's way, after its link went), nobody undid anything.
        """
        still = waiting() if self._found else ()
        done = [self._found.pop(key) for key in [*self._found] if key not in still]
        if mended := [step for step in done if _stands(step, want)]:
            self._drift.mended(mended, now=now)
        if looked and not self._found:  # what waits is told later, by what was said of it
            self._drift.looked(now)


def _stands(step: Step, want: State) -> bool:
    wanted = want.get(step.object.key)
    return wanted is None if step.action is Action.DELETE else wanted == step.object


def _again(step: Step) -> Step:
    """A route that we had and have no more: whatever stands there now took its place, so ours takes it back."""
    taken = isinstance(step.object, Route) and step.action is Action.ADD
    return replace(step, action=Action.REPLACE) if taken else step
