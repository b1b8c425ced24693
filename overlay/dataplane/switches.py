"""Switches under /proc/sys: read, set, and noticed when others turn them.

The kernel tells nobody of most of them (of accept_ra, never), so they are looked at; a file costs some 20 µs.
"""

from collections.abc import Iterable
from pathlib import Path

from overlay.dataplane.former import Former
from overlay.errors import KernelRefused
from overlay.model import Sysctl


class Switches:
    """``changes`` counts accepted writes; ``former`` notes what was before the first. None: an operator turns it."""

    def __init__(self, root: Path, former: Path | None = None) -> None:
        self.changes = 0
        self._root = root
        self._former = Former(former, root) if former is not None else None
        self._wanted: tuple[Sysctl, ...] = ()
        self._told: frozenset[Sysctl] = frozenset()

    def look(self, wanted: Sysctl) -> Sysctl | None:
        """As it is; None if there is no such switch."""
        try:
            with open(f"{self._root}/{wanted.path}", "rb", buffering=0) as file:
                return wanted.found(file.read(256).decode(errors="replace").strip())
        except OSError:
            return wanted.found(None)

    def set(self, item: Sysctl) -> None:
        """Turn it; raises KernelRefused."""
        if self._former is not None:
            self._former.note(item.path)
        try:
            (self._root / item.path).write_text(item.value)
        except OSError as error:
            raise KernelRefused(f"{item}: {error.strerror}", errno=error.errno or 0) from error
        self.changes += 1

    def watch(self, wanted: Iterable[Sysctl]) -> None:
        """From now on these; what differed was seen."""
        self._wanted, self._told = tuple(wanted), frozenset()

    def turned(self) -> frozenset[Sysctl]:
        """Those that are not as they ought to be, as they are; each once until the next `watch`.

        May be called in another thread than the rest. One that is not there went with its device.
        """
        differing = {
            now
            for wanted in self._wanted
            if (now := self.look(wanted)) is not None and now != wanted
        }
        fresh = frozenset(differing - self._told)
        self._told |= fresh
        return fresh
