"""What an installation has laid down, written by it: exactly that goes at uninstall. In the instance's state directory.

A file whose digest is not the one noted was changed since.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.ctl.install.items import SECRET, Item
from agent.ctl.install.steps import Action, Present, Step, digest
from overlay.errors import BadInput
from overlay.marks import ONLY, Marks

NAME = "installed.json"
VERSION = 1
HINT = (
    f"move it away: ls -l /var/lib/overlay*/{NAME}; what is at its usual place is found without it"
)


class _Wire(msgspec.Struct):
    version: int
    files: dict[str, str]
    directories: list[str] = []
    saved: list[str] = []


@dataclass(frozen=True, slots=True)
class Manifest:
    """``files`` have their digests, ``directories`` were made for them, ``saved`` is what was there before some."""

    files: Mapping[Path, str] = field(default_factory=dict)
    directories: Sequence[Path] = ()
    saved: Sequence[Path] = ()


def path_of(marks: Marks = ONLY) -> Path:
    """Where it is; not where the setting state_dir says, which may change later."""
    return Path(marks.state_dir) / NAME


def after(before: Manifest, steps: Iterable[Step], made: Iterable[Path]) -> Manifest:
    """What is laid down once the steps are done. A file that was there and is kept was not laid down by us."""
    done = [step for step in steps if step.changes or step.action is Action.UNCHANGED]
    files = {**before.files, **{step.item.path: digest(step.item) for step in done}}
    saved = [step.saved for step in done if step.saved is not None]
    return Manifest(
        files,
        tuple(dict.fromkeys((*before.directories, *made))),
        tuple(dict.fromkeys((*before.saved, *saved))),
    )


def item(manifest: Manifest, marks: Marks) -> Item:
    """The manifest as a file to be laid down with the others."""
    wire = _Wire(
        VERSION,
        {str(path): text for path, text in sorted(manifest.files.items())},
        [str(path) for path in manifest.directories],
        [str(path) for path in manifest.saved],
    )
    data = msgspec.json.format(msgspec.json.encode(wire), indent=1) + b"\n"
    return Item(path_of(marks), "list of all this", data, SECRET, ours=(), closed=True)


def parse(present: Present) -> Manifest:
    """The reverse of ``item``; empty where there is none.

    Raises:
        BadInput: it is no manifest that we read.
    """
    if not present.data:
        return Manifest()
    try:
        wire = msgspec.json.decode(present.data, type=_Wire)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(
            f"the list of what is installed cannot be read: {error}", hint=HINT
        ) from error
    paths = [*wire.files, *wire.directories, *wire.saved]
    if wire.version != VERSION or (bad := [path for path in paths if not _is_plain(path)]):
        why = f"version {wire.version}" if wire.version != VERSION else f"a path {bad[0][:80]!r}"
        raise BadInput(
            f"the list of what is installed has {why}, which this version does not know", hint=HINT
        )
    return Manifest(
        {Path(path): text for path, text in wire.files.items()},
        tuple(map(Path, wire.directories)),
        tuple(map(Path, wire.saved)),
    )


def _is_plain(path: str) -> bool:
    """Absolute, without detours: a manifest is no way to have something else deleted."""
    return path.startswith("/") and "\0" not in path and ".." not in Path(path).parts
