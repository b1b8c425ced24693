"""Which pod had which address, and when: lines that ADD and DEL leave behind, whoever runs them.

One JSON object a line, appended by one write(2) to ``<state-dir>/history/pods``; a line begins and ends with a
newline, so that one that a full disk has torn spoils no other. Nothing is synced, nothing here fails an ADD, and the
file is bounded: the agent turns it over at MOST_BYTES (agent.chronicle), and nobody writes beyond TWICE that.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from cni.record import LAST_SECOND, Attachment

DIRECTORY, NAME, BEFORE = "history", "pods", "pods.1"
MOST_BYTES = 4 << 20
TWICE = 2 * MOST_BYTES
MOST_LINE = 4096
"""A line that is longer is not written, nor read: names that long are no pod's."""
MOST_TURNS = 3
"""So often a line is written anew."""
ADD, DEL, GONE, REBOOT = "add", "del", "gone", "reboot"
"""What began, and how it ended: by the runtime, found gone by the agent, with the machine."""

_Text = Annotated[str, Meta(max_length=1024)]


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """``at`` is Unix time in seconds, ``boot`` the kernel's boot id then."""

    at: Annotated[float, Meta(ge=0, lt=LAST_SECOND)]
    do: _Text
    network: _Text
    container: _Text
    ifname: _Text
    pod: _Text = ""
    addresses: tuple[_Text, ...] = ()
    boot: _Text = ""

    @property
    def owner(self) -> tuple[str, str, str]:
        """Whose it is."""
        return (self.network, self.container, self.ifname)


def began(record: Attachment, *, at: float = 0.0) -> Line:
    """An attachment as its journal has it."""
    return Line(
        at or record.created,
        ADD,
        record.network,
        record.container,
        record.ifname,
        record.pod,
        tuple(text.partition("/")[0] for text in record.addresses),
        record.boot,
    )


def ended(owner: tuple[str, str, str], how: str, *, at: float) -> Line:
    """Its end."""
    return Line(at, how, *owner)


def encode(line: Line) -> bytes:
    """With a newline at both ends; nothing where it would be too long."""
    body = msgspec.json.encode(line)
    return b"\n" + body + b"\n" if len(body) <= MOST_LINE else b""


def parse(data: bytes) -> tuple[list[Line], int]:
    """(lines, how many are none): torn ones, and whatever else somebody wrote into the file."""
    found, skipped = [], 0
    for text in data.split(b"\n"):
        if not text:
            continue
        try:
            if len(text) > MOST_LINE:
                raise ValueError("too long")
            found.append(_DECODER.decode(text))
        except (ValueError, msgspec.DecodeError, RecursionError):
            skipped += 1
    return found, skipped


_DECODER = msgspec.json.Decoder(Line)


def append(state_dir: str | Path, lines: Iterable[Line]) -> str:
    """Add lines; why that failed, or empty. Never raises for what a disk does."""
    data = b"".join(encode(line) for line in lines)
    path = f"{state_dir}/{DIRECTORY}/{NAME}"
    try:
        for _ in range(MOST_TURNS):
            descriptor = _opened(path)
            try:
                found = os.fstat(descriptor)
                if found.st_size > TWICE:
                    return f"{path} has more than {TWICE} bytes: no agent has turned it over"
                if os.write(descriptor, data) != len(data):
                    return f"{path}: no space left"
            finally:
                os.close(descriptor)
            # Turned over between open and write, it is in the former file, which nobody reads again before it goes; a
            # line that is told twice counts once (agent.spans).
            if os.stat(path).st_ino == found.st_ino:
                break
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _opened(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags, 0o600)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    return os.open(path, flags, 0o600)
