"""Temporary files whose writer was killed before the rename: found by their names, and taken away.

Every such name is drawn at random and lives for a moment. One that is seen in two looks has no writer any more;
should it have one after all, a process that was stopped in between, its rename fails with a clear error.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PAGE = re.compile(r"\..{1,100}\.[0-9a-f]{12}\.tmp", re.DOTALL)
"""Of `overlay.nodefile.write_atomic`."""
_FRESH = re.compile(r"\.tmp-.{1,100}-[0-9a-f]{12}", re.DOTALL)
"""Of `cni.writing.fresh`, for a journal and for the address given last."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """One such file."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path}, whose writer was killed"


def survey(run_dir: Path) -> list[Unfinished]:
    """All in a run directory; nothing is changed."""
    records = run_dir / "attachments"
    found = [
        *_named(run_dir, _PAGE),
        *_named(run_dir / "ipam", _FRESH),
        *(path for name in _names(records) for path in _named(records / name, _FRESH)),
    ]
    return [Unfinished(path) for path in found]


def beside(path: Path) -> list[Path]:
    """Those of a file elsewhere, such as the conflist in a runtime's directory."""
    began = f".{path.name[:100]}."
    found = _named(path.parent.resolve(), _PAGE)
    return [it for it in found if it.name[: -len("0123456789ab.tmp")] == began]


def remove(item: Unfinished) -> None:
    """Take it away; that it is gone already is fine.

    Raises:
        OSError: it cannot be removed.
    """
    item.path.unlink(missing_ok=True)


def _named(directory: Path, form: re.Pattern[str]) -> Iterator[Path]:
    """Never through a symbolic link: what is behind it is not ours."""
    if directory.is_symlink():
        return
    for name in _names(directory):
        path = directory / name
        if form.fullmatch(name) and (path.is_symlink() or path.is_file()):
            yield path


def _names(directory: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir(directory))
    return []
