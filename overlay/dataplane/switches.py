"""Switches under /proc/sys: read, set, and noticed when others turn them.

The kernel tells nobody of most of them (of accept_ra, never), so they are looked at, over and over: those that are
watched are kept open, which costs a sixth of finding, opening and closing each again (0.8 instead of 5 µs). And what
reads as it did at the last look is no news and is not taken apart again. That look is made twice a second all day, by
a thread whose code the processor has forgotten meanwhile: each line of it costs many times what a loop would show.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
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
        self.descriptor = -1

    def read(self) -> bytes | None:
        """As it is; None if there is no such switch (now)."""
        if self.descriptor >= 0:
            try:
                return os.pread(self.descriptor, _MOST, 0)
            except OSError:
                self.close()
        try:
            self.descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self.descriptor, _MOST, 0)
        except OSError:
            return None

    def close(self) -> None:
        """Until the next look."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(frozen=True, slots=True)
class _Calm:
    """A look that left nothing to tell: what was wanted, the open files, and what each said."""

    wanted: tuple[Sysctl, ...]
    descriptors: list[int]
    said: list[bytes | None]


class Switches:
    """``changes`` counts accepted writes; ``former`` notes what was before the first. None: an operator turns it."""

    def __init__(self, root: Path, former: Path | None = None) -> None:
        self.changes = 0
        self._root = root
        self._former = Former(former, root) if former is not None else None
        self._wanted: tuple[Sysctl, ...] = ()
        self._told: frozenset[Sysctl] = frozenset()
        self._open: dict[str, _Watched] = {}
        """By path; of the thread that calls ``turned`` alone, as is the next one."""
        self._calm: _Calm | None = None

    def close(self) -> None:
        """Once nobody looks any more."""
        self._calm = None
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
        all_wanted, calm = self._wanted, self._calm
        if calm is not None and calm.wanted is all_wanted:  # another tuple after each `watch`
            try:
                if list(map(os.pread, calm.descriptors, repeat(_MOST), repeat(0))) == calm.said:
                    return frozenset()
            except OSError:  # gone with its device
                pass
        return self._compared(all_wanted)

    def _compared(self, all_wanted: tuple[Sysctl, ...]) -> frozenset[Sysctl]:
        self._calm = None
        if len(self._open) != len(all_wanted) or any(
            it.path not in self._open for it in all_wanted
        ):
            self._keep_open(all_wanted)
        files = [self._open[wanted.path] for wanted in all_wanted]
        said = [file.read() for file in files]
        differing = {
            now
            for wanted, content in zip(all_wanted, said, strict=True)
            if (now := _found(wanted, content)) is not None and now != wanted
        }
        fresh = frozenset(differing - self._told)
        self._told |= fresh
        if not fresh and None not in said:
            self._calm = _Calm(all_wanted, [file.descriptor for file in files], said)
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
