"""The support archive: what is needed to understand a node from afar, without its secrets.

Everything passes one point (`Archive.add`), where secrets are taken out and sizes are bounded. What cannot be had
is said in its place, so that the archive of a broken node is as good as there is.
"""

import hashlib
import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.ctl.doctor.redaction import Redactor
from agent.moment import utc
from overlay.errors import OverlayError
from overlay.nodefile import write_atomic

MOST_BYTES = 2 << 20
"""Of one file."""
MOST_TOTAL_BYTES = 24 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive; ``cut``: bytes that did not fit."""

    name: str
    data: bytes
    cut: int


class Archive:
    """Collects; nothing is written before `write`."""

    def __init__(self, redactor: Redactor, *, most_total: int = MOST_TOTAL_BYTES) -> None:
        self._redactor, self._most_total = redactor, most_total
        self._members: list[Member] = []
        self._size = 0

    def add(self, name: str, text: str, *, json: bool = False, tail: bool = False) -> None:
        """A text; ``tail``: its end is worth more than its beginning."""
        clean = self._redactor.clean_json(text) if json else self._redactor.clean(text)
        data = clean.encode(errors="replace")
        room = max(0, min(MOST_BYTES, self._most_total - self._size))
        kept = data[-room:] if tail and room else data[:room]
        self._size += len(kept)
        self._members.append(Member(name, kept, len(data) - len(kept)))

    def ask(
        self, name: str, question: Callable[[], str], *, json: bool = False, tail: bool = False
    ) -> None:
        """What a question is answered; where it fails the reason stands in its place."""
        try:
            text = question()
        except Exception as error:
            text, json = f"not to be had: {type(error).__name__}: {error}\n", False
        self.add(name, text, json=json, tail=tail)

    def manifest(self) -> str:
        """What is in it."""
        rows = [
            f"{len(one.data):>9}  {hashlib.sha256(one.data).hexdigest()[:16]}  {one.name}"
            + (f"  ({one.cut} bytes cut)" if one.cut else "")
            for one in self._members
        ]
        head = (
            f"overlayctl doctor --bundle, {utc(time.time())}\n"
            "Removed: passwords, tokens, private keys, the user part of URLs. Kept: names, addresses, MACs.\n\n"
            "    bytes  sha256 (beginning)  file\n"
        )
        return head + "\n".join(rows) + "\n"

    def write(self, path: Path, top: str) -> int:
        """By rename, mode 0600; returns the size.

        Raises:
            OverlayError: it cannot be written there.
        """
        manifest = Member("MANIFEST", self.manifest().encode(), 0)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for one in (manifest, *self._members):
                entry = tarfile.TarInfo(f"{top}/{one.name}")
                entry.size, entry.mode, entry.mtime = len(one.data), 0o600, int(time.time())
                tar.addfile(entry, io.BytesIO(one.data))
        try:
            write_atomic(path, buffer.getvalue(), mode=0o600)
        except OSError as error:
            raise OverlayError(
                f"{path} cannot be written: {error.strerror}",
                hint="name a file in another directory",
            ) from error
        return len(buffer.getvalue())
