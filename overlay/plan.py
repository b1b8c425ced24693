"""From what is wanted and what is there to ordered steps: pure, and safe to stop after any of them.

Order. Everything is made from the ground up (switch, link, address, rules, FDB, neighbour, route) and
removed from the top down (route first). All making comes before any removing, so a peer whose MAC or
address changed has its new FDB entry and neighbour before the old entry goes: no prefix of a plan
breaks a healthy peer, and planning again from any interrupted point leads to the same end.
"""

from collections.abc import Hashable, Iterable, Mapping
from operator import attrgetter

from overlay.model import Action, KernelObject, Step

State = Mapping[Hashable, KernelObject]
_RANK = attrgetter("object.rank")
_ADD, _DELETE = Action.ADD, Action.DELETE
"""To look a member up in its enum takes as long as a call, and there are thousands of steps."""


def plan(want: State, have: State, keys: Iterable[Hashable] | None = None) -> list[Step]:
    """The steps that turn ``have`` into ``want``, for the given keys only (default: all of both).

    Values are compared whole: the same key with another value is a REPLACE.
    """
    touched = dict.fromkeys(keys) if keys is not None else dict.fromkeys([*want, *have])
    up: list[Step] = []
    down: list[Step] = []
    for key in touched:
        wanted, present = want.get(key), have.get(key)
        if present is None:  # at a start that is almost all of them
            if wanted is not None:
                up.append(Step(_ADD, wanted))
        elif wanted is None:
            down.append(Step(_DELETE, present, was=present))
        elif wanted != present:
            up.append(Step(Action.REPLACE, wanted, was=present))
    up.sort(key=_RANK)
    down.sort(key=_RANK, reverse=True)
    return up + down


def record(have: dict[Hashable, KernelObject], step: Step) -> None:
    """Enter a step that the kernel has accepted into the mirror."""
    if step.action is _DELETE:
        have.pop(step.object.key, None)
    else:
        have[step.object.key] = step.object


def differing(want: State, have: State, *, additive: bool) -> set[Hashable]:
    """The keys of which another value is there, and unless ``additive`` those that nobody wants.

    Of thousands that are right each costs one look-up: to hash a key is what takes time here. Of those that are not
    there, at a start almost all, none is hashed: one set of keys from another does without.
    """
    found: set[Hashable] = set()
    there = 0
    for key, present in have.items():
        item = want.get(key)
        if item is None:
            if not additive:
                found.add(key)
            continue
        there += 1
        if present is not item and present != item:
            found.add(key)
    if there != len(want):
        found |= want.keys() - have.keys()
    return found
