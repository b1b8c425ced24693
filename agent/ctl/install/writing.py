"""All of the steps or none: everything is written beside its place first, and only then put there by rename.

Until the first rename nobody has seen a thing; a failure of a later one puts back what was there. Killed in between,
the next run goes on from what it finds, and takes the temporary files of this one away.
"""

import errno
import glob
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from agent.ctl.install.items import SECRET, Item
from agent.ctl.install.steps import Kind, Present, Step
from overlay.errors import Fatal

SUFFIX = ".overlay-install"
"""Of temporary files; hidden ones, so that no runtime and no systemd reads them."""
DIRECTORY, CLOSED_DIRECTORY = 0o755, 0o700
_WHY = {
    errno.EROFS: "it is mounted read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EACCES: "it may not be written",
    errno.EPERM: "it may not be written",
}


def look(path: Path) -> Present:
    """What is there.

    Raises:
        Fatal: it cannot be read.
    """
    try:
        if path.is_symlink():
            return Present(Kind.LINK, target=str(path.readlink()))
        if path.is_file():
            return Present(Kind.FILE, path.read_bytes(), path.stat().st_mode & 0o7777)
        return Present(Kind.OTHER) if path.exists() else Present()
    except OSError as error:
        raise _told(path, error) from error


def below(root: Path, path: Path) -> Path:
    """A node's path in an image."""
    return root / path.relative_to("/")


def missing(places: Iterable[Path], root: Path) -> tuple[Path, ...]:
    """The directories that have to be made for these, outermost first, as the node knows them."""
    found: dict[Path, None] = {}
    for place in places:
        absent = [it for it in place.parents if not below(root, it).exists()]
        found |= dict.fromkeys(reversed(absent))
    return tuple(found)


def carry_out(steps: Sequence[Step], root: Path, directories: Iterable[Path] = ()) -> None:
    """Do what the steps say, and make these directories, and those that a file needs.

    Raises:
        Fatal: it could not be done, and all is as it was before.
    """
    due = [step for step in steps if step.changes]
    closed = {step.item.path.parent for step in due if step.item.closed}
    with ExitStack() as undo:
        for directory in (*directories, *missing([step.item.path for step in due], root)):
            _make(
                directory, root, undo, mode=CLOSED_DIRECTORY if directory in closed else DIRECTORY
            )
        staged = [
            (temporary, place)
            for step in due
            for temporary, place in _stage(step, below(root, step.item.path), root, undo)
        ]
        for temporary, place in staged:
            _put(temporary, place, undo)
        undo.pop_all()
    _clear(below(root, step.item.path) for step in steps)


def _make(known: Path, root: Path, undo: ExitStack, *, mode: int) -> None:
    directory = below(root, known)
    if directory.is_dir():
        return
    try:
        directory.mkdir(mode=CLOSED_DIRECTORY)
        undo.callback(_quietly, directory.rmdir)
        directory.chmod(mode)  # whatever the umask says
    except OSError as error:
        raise _told(directory, error) from error


def _stage(step: Step, place: Path, root: Path, undo: ExitStack) -> Iterator[tuple[Path, Path]]:
    """Write what is to be put there, and what is to be kept of what was there, each beside its place."""
    if step.saved is not None:
        was = step.was
        kept = Item(step.saved, "", was.data, was.mode & 0o777 or SECRET, was.target)
        saved = below(root, step.saved)
        yield _write(kept, saved, undo), saved
    yield _write(step.item, place, undo), place


def _write(item: Item, place: Path, undo: ExitStack) -> Path:
    temporary = _temporary(place)
    undo.callback(_quietly, temporary.unlink)
    try:
        if item.target:
            temporary.symlink_to(item.target)
            return temporary
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, SECRET)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, item.mode)  # before anybody sees it under its name
            file.write(item.data)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise _told(place, error) from error
    return temporary


def _put(temporary: Path, place: Path, undo: ExitStack) -> None:
    """By rename, with a way back that does not need any room on the disk."""
    try:
        if os.path.lexists(place):
            before = _temporary(place)
            os.link(place, before, follow_symlinks=False)
            undo.callback(_quietly, before.unlink)  # comes after the next line's, which moves it
            undo.callback(_quietly, lambda: before.replace(place))
        else:
            undo.callback(_quietly, place.unlink)
        temporary.replace(place)
        _sync(place.parent)
    except OSError as error:
        raise _told(place, error) from error


def _temporary(place: Path) -> Path:
    return place.with_name(f".{place.name[:100]}.{secrets.token_hex(6)}{SUFFIX}")


def _clear(places: Iterable[Path]) -> None:
    """The ways back are not needed any more; nor is what a killed run has left."""
    for place in places:
        for path in unfinished(place):
            _quietly(path.unlink)


def unfinished(place: Path) -> Iterator[Path]:
    """What a killed run has left beside a place."""
    return place.parent.glob(f".{glob.escape(place.name[:100])}.*{SUFFIX}")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _quietly(action: Callable[[], object]) -> None:
    with suppress(OSError):
        action()


def _told(path: Path, error: OSError) -> Fatal:
    why = _WHY.get(error.errno or 0, error.strerror or str(error))
    hints = {
        errno.EROFS: "name a directory that can be written, such as --cni-bin-dir /var/lib/cni/bin "
        "(the runtime has to be told, too: bin_dir)",
        errno.ENOSPC: f"df -h {path.parent}",
        errno.EACCES: "run it as root",
        errno.EPERM: f"run it as root; or see: lsattr -d {path.parent}",
    }
    return Fatal(
        f"{path} cannot be laid down: {why}; nothing was changed",
        hint=hints.get(error.errno or 0, f"ls -ld {path.parent}"),
    )
