"""Switches under /proc/sys: read and set."""

from pathlib import Path

from overlay.errors import KernelRefused
from overlay.model import Sysctl


class Switches:
    """``changes`` counts accepted writes."""

    def __init__(self, root: Path) -> None:
        self.changes = 0
        self._root = root

    def look(self, wanted: Sysctl) -> Sysctl | None:
        """As it is; None if there is no such switch."""
        try:
            return wanted.found((self._root / wanted.path).read_text().strip())
        except OSError:
            return wanted.found(None)

    def set(self, item: Sysctl) -> None:
        """Turn it; raises KernelRefused."""
        try:
            (self._root / item.path).write_text(item.value)
        except OSError as error:
            raise KernelRefused(f"{item}: {error.strerror}", errno=error.errno or 0) from error
        self.changes += 1
