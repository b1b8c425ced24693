"""From what is wanted and what is there to steps: pure, and nothing to be done where all is as wanted.

What is replaced although its owner changed it by hand, and with ``force`` a file of others, is kept beside it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from agent.ctl.install.items import PROGRAM, Item

SAVED = ".before-overlay"
"""Behind the name of what was there before; no program reads a unit, drop-in or network file of such a name."""


class Kind(Enum):
    """What is at a path."""

    ABSENT = "nothing"
    FILE = "file"
    LINK = "symbolic link"
    OTHER = "neither file nor link"


@dataclass(frozen=True, slots=True)
class Present:
    """``target`` is a link's."""

    kind: Kind = Kind.ABSENT
    data: bytes = b""
    mode: int = 0
    target: str = ""


class Action(Enum):
    """What happens to a file."""

    CREATE = "create"
    REPLACE = "replace"
    UNCHANGED = "unchanged"
    KEEP = "kept"
    REFUSE = "refused"


@dataclass(frozen=True, slots=True)
class Step:
    """``was`` is what is there now; ``saved`` where it is kept, or None."""

    action: Action
    item: Item
    why: str = ""
    was: Present = Present()
    saved: Path | None = None

    @property
    def changes(self) -> bool:
        """True if something is written."""
        return self.action in (Action.CREATE, Action.REPLACE)

    def __str__(self) -> str:
        why = f": {self.why}" if self.why else ""
        return f"{self.action.value} {self.item.path} ({self.item.what}){why}"


def plan(
    wanted: Sequence[Item],
    present: Mapping[Path, Present],
    known: Mapping[Path, str],
    *,
    force: bool = False,
) -> tuple[Step, ...]:
    """One step per item. ``known`` are the digests of what the last installation wrote.

    ``present`` has what is at the items' paths and, where something is, `beside` them.
    """
    steps = (
        _saved(_step(item, present.get(item.path, Present()), known.get(item.path, "")), force)
        for item in wanted
    )
    return tuple(_sparing(step, present.get(beside(step.item), Present())) for step in steps)


def digest(item: Item | Present) -> str:
    """What tells one content from another, for the manifest."""
    if item.target:
        return f"-> {item.target}"
    return hashlib.sha256(item.data).hexdigest()


def refusals(steps: Sequence[Step]) -> Iterator[Step]:
    """Those that keep the whole from being done."""
    return (step for step in steps if step.action is Action.REFUSE)


def _step(item: Item, was: Present, known: str) -> Step:
    if was.kind is Kind.ABSENT:
        return Step(Action.CREATE, item)
    if item.keep and was.kind is not Kind.OTHER:
        return Step(Action.KEEP, item, "it is there already, and yours", was)
    if was.kind is Kind.OTHER:
        return Step(Action.REFUSE, item, "what is there is neither a file nor a link", was)
    if (was.kind is Kind.LINK) != bool(item.target):
        return Step(Action.REFUSE, item, f"a {was.kind.value} of somebody else's is there", was)
    if digest(was) == digest(item):
        if item.target or was.mode == item.mode:
            return Step(Action.UNCHANGED, item, was=was)
        return Step(Action.REPLACE, item, f"mode is {was.mode:o}, not {item.mode:o}", was)
    if digest(was) == known:
        return Step(Action.REPLACE, item, "another version", was)
    return _not_known(item, was, by_hand=bool(known))


def _not_known(item: Item, was: Present, *, by_hand: bool) -> Step:
    """It is not what the last installation wrote, if there was one."""
    if item.target:
        if was.target.endswith(f"/{item.path.name}"):
            return Step(Action.REPLACE, item, f"it led to {was.target}", was)
        return Step(Action.REFUSE, item, f"it is somebody else's link to {was.target}", was)
    if by_hand:
        return Step(Action.REPLACE, item, "it was changed by hand", was, beside(item))
    if not item.ours or any(mark in was.data for mark in item.ours):
        saved = None if item.mode == PROGRAM else beside(item)
        return Step(Action.REPLACE, item, "an earlier version", was, saved)
    return Step(Action.REFUSE, item, "a file of somebody else's is there", was)


def _saved(step: Step, force: bool) -> Step:
    """By force what is refused for its owner is replaced; what is no file never."""
    if not force or step.action is not Action.REFUSE or step.was.kind is Kind.OTHER:
        return step
    return replace(step, action=Action.REPLACE, saved=beside(step.item))


def _sparing(step: Step, kept: Present) -> Step:
    """What is kept of somebody else's goes back one day: nothing of ours takes its place, by force neither."""
    ours = step.item.ours
    is_ours = any(mark in step.was.data for mark in ours)
    is_theirs = kept.kind is not Kind.ABSENT and not any(mark in kept.data for mark in ours)
    if step.saved is None or not (is_ours and is_theirs):
        return step
    why = f"it was changed by hand, and {step.saved} keeps what was there before it: move one of them away"
    return replace(step, action=Action.REFUSE, why=why, saved=None)


def beside(item: Item) -> Path:
    """Where what was there before it is kept."""
    return item.path.with_name(item.path.name + SAVED)
