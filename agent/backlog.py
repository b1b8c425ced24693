"""What still has to be done, by owner, and when: so that a failing peer waits alone.

Pure but for the spread of its pauses; the clock is an argument.
"""

import random
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from agent.culprits import Sign
from agent.undone import GONE
from overlay.errors import ForeignObject, KernelRefused, OverlayError
from overlay.model import Bridge, Vxlan
from overlay.plan import State
from overlay.wanted import NODE

RETRY_FIRST_S, RETRY_MOST_S = 0.5, 60.0
REFUSED_TIMES = 3
"""So often in a row, and what the kernel refuses is the record's fault, not the moment's."""


@dataclass(slots=True)
class Entry:
    """One owner's share: the keys to look at, not before ``due``."""

    keys: set[Hashable] = field(default_factory=set)
    due: float = 0.0
    attempts: int = 0
    error: str = ""
    """In words, with the command that shows it where there is one."""
    held_up: bool = False
    """Somebody else's object stands in the place, or the kernel refuses what the record asks for; nothing that we do
    changes it. Any node can write a record, so none may keep the others' from taking pods."""


class Backlog:
    """Owners with something to do."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def touch(self, owner: str, keys: Iterable[Hashable], *, now: float) -> None:
        """There is news about these keys: look now, whatever pause was on."""
        entry = self._entries.get(owner)
        if entry is None:
            self._entries[owner] = Entry(set(keys), now)
            return
        entry.keys.update(keys)
        entry.due = now

    def add(self, owner: str, key: Hashable, *, now: float) -> None:
        """A key was found wrong: look when the owner is due; at once if it is news and not what waits."""
        entry = self._entries.setdefault(owner, Entry(due=now))
        if key not in entry.keys:
            entry.keys.add(key)
            entry.due = min(entry.due, now)

    def hurry(self, now: float) -> None:
        """What stood in the way may be gone: nobody waits any longer."""
        for entry in self._entries.values():
            entry.due = min(entry.due, now)

    def freed(self, signs: Mapping[Hashable, Sign], at: float) -> None:
        """Events say what was deleted; it may be what stood in the place of something that waits."""
        gone = {key for key, sign in signs.items() if sign.fate == GONE}
        for entry in self._entries.values() if gone else ():
            if not gone.isdisjoint(entry.keys):
                entry.due = min(entry.due, at)

    def due(self, now: float) -> dict[str, Entry]:
        """Whose time has come."""
        return {owner: entry for owner, entry in self._entries.items() if entry.due <= now}

    def done(self, owner: str) -> None:
        """All of the owner's keys are right."""
        self._entries.pop(owner, None)

    def failed(self, owner: str, error: OverlayError, *, now: float) -> float:
        """Something was refused; returns the pause before the next try, in seconds."""
        entry = self._entries[owner]
        entry.attempts += 1
        most: float = min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** min(entry.attempts, 10))
        pause = most * random.uniform(0.5, 1.0)
        entry.due = now + pause
        entry.error = f"{error}; {error.hint}" if error.hint else str(error)
        refused = isinstance(error, KernelRefused) and entry.attempts >= REFUSED_TIMES
        entry.held_up = refused or isinstance(error, ForeignObject)
        return pause

    def first_failures(self) -> list[str]:
        """Owners that have failed once: news, unlike those that fail again."""
        return [owner for owner, entry in self._entries.items() if entry.attempts == 1]

    def errors(self) -> dict[str, str]:
        """What was refused, by owner."""
        return {owner: entry.error for owner, entry in self._entries.items() if entry.error}

    def first_error(self) -> tuple[str, str] | None:
        """One of these."""
        failed = ((who, it.error) for who, it in self._entries.items() if it.error)
        return next(failed, None)

    @property
    def only_held_up(self) -> bool:
        """True if nothing waits but peers for whom nothing more can be done."""
        return all(who != NODE and entry.held_up for who, entry in self._entries.items())

    def keys(self) -> set[Hashable]:
        """All keys that wait."""
        found: set[Hashable] = set()
        return found.union(*(entry.keys for entry in self._entries.values()))

    def next_due(self) -> float | None:
        """When the first owner is due; None if nothing waits."""
        return min((entry.due for entry in self._entries.values()), default=None)


def devices_first(due: dict[str, Entry], want: State, have: State) -> dict[str, Entry]:
    """Of what is due, while a link is missing, this node's own share alone.

    A link that was made is followed by a full read, which costs little as long as it has no entries.
    """
    node = due.get(NODE)
    if node is None or len(due) == 1:
        return due
    missing = any(
        isinstance(want.get(key), Vxlan | Bridge) and key not in have for key in node.keys
    )
    return {NODE: node} if missing else due
