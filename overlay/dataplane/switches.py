"""Switches under /proc/sys: read, set, and noticed when others turn them.

The kernel tells nobody of most of them (of accept_ra, never), so they are looked at, over and over: those that are
watched are kept open, which costs a sixth of finding, opening and closing each again (0.8 instead of 5 µs).
"""

import os
from collections.abc import Iterable
from pathlib import Path

from overlay.dataplane.former import Former
from overlay.errors import KernelRefused
from overlay.model import Sysctl

_MOST = 256
"""Bytes; no switch of ours says more."""


class _Watched:
    """One switch, kept open. A file of a device that went answers nothing any more (ENOENT, grab_header() of
    fs/proc/proc_sysctl.c), though one of the same name may have been made meanwhile: then that one's is opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def read(self) -> bytes | None:
        """As it is; None if there is no such switch (now)."""
        if self._descriptor >= 0:
            try:
                return os.pread(self._descriptor, _MOST, 0)
            except OSError:
                self.close()
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._descriptor, _MOST, 0)
        except OSError:
            return None

    def close(self) -> None:
        """Until the next look."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Switches:
    """``changes`` counts accepted writes; ``former`` notes what was before the first. None: an operator turns it."""

    def __init__(self, root: Path, former: Path | None = None) -> None:
        self.changes = 0
        self._root = root
        self._former = Former(former, root) if former is not None else None
        self._wanted: tuple[Sysctl, ...] = ()
        self._told: frozenset[Sysctl] = frozenset()
        self._open: dict[str, _Watched] = {}
        """By path; of the thread that calls ``turned`` alone."""

    def close(self) -> None:
        """Once nobody looks any more."""
        self._keep_open(())

    def look(self, wanted: Sysctl) -> Sysctl | None:
        """As it is; None if there is no such switch."""
        try:
            with open(f"{self._root}/{wanted.path}", "rb", buffering=0) as file:
                return _found(wanted, file.read(_MOST))
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
        all_wanted = self._wanted
        if len(self._open) != len(all_wanted) or any(
            it.path not in self._open for it in all_wanted
        ):
            self._keep_open(all_wanted)
        differing = {
            now
            for wanted in all_wanted
            if (now := _found(wanted, self._open[wanted.path].read())) is not None and now != wanted
        }
        fresh = frozenset(differing - self._told)
        self._told |= fresh
        return fresh

    def _keep_open(self, all_wanted: Iterable[Sysctl]) -> None:
        paths = {wanted.path for wanted in all_wanted}
        for path in self._open.keys() - paths:
            self._open.pop(path).close()
        for path in paths - self._open.keys():
            self._open[path] = _Watched(f"{self._root}/{path}")


def _found(wanted: Sysctl, content: bytes | None) -> Sysctl | None:
    """What ``content`` says; as wanted, mostly, which costs no more than a comparison."""
    value = None if content is None else content.decode(errors="replace").strip()
    return wanted if value == wanted.value else wanted.found(value)
