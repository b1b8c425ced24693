"""The history of this node's addresses: what ADD and DEL wrote (cni.diary), made whole, kept small, and asked.

A thread of its own writes what the agent's verbs tell it, so that no ADD ever waits for a disk. Now and then it
compares the file with the attachments there are: one that ended without a DEL is written down as gone, those of
before a reboot end with it, one that nobody wrote down (a full disk, an older version) is added.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent.moment import boot_clock
from agent.spans import Asked, asked, matching, row, spans
from cni import diary, pods
from cni.diary import Line
from cni.ipam import Ipam
from overlay.errors import OverlayError
from overlay.nodefile import write_atomic

log = logging.getLogger(__name__)

EVERY_S = 60.0
MOST_WAITING = 4096
MOST_ROWS = 200


class Chronicle:
    """``wall`` is in seconds since 1970."""

    def __init__(
        self,
        run_dir: Path,
        state_dir: Path,
        *,
        wall: Callable[[], float] = time.time,
        most_bytes: int = diary.MOST_BYTES,
    ) -> None:
        self.trouble = ""
        """Why nothing is written; empty if it is."""
        self._ipam, self._state_dir, self._wall = Ipam(run_dir), state_dir, wall
        self._waiting: queue.Queue[Line | None] = queue.Queue(MOST_WAITING)
        self._settled = float("-inf")
        self._inode = self._read_to = 0
        self._most_bytes = most_bytes
        self._open: dict[tuple[str, str, str], Line] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, *, wait_s: float = 0.5) -> None:
        """Write what is not yet written, if that takes no longer than ``wait_s``."""
        self._stopping.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(wait_s)

    def tell(self, line: Line | None) -> None:
        """A verb was done; by any thread, and in no time. What does not fit is found by the next comparison."""
        if line is not None:
            with suppress(queue.Full):
                self._waiting.put_nowait(line)

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """For ``overlayctl history`` on another node; raises BadInput."""
        return look(self._state_dir, asked(question), now=self._wall())

    # --- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with suppress(queue.Empty):
                self._write(self._gathered(self._waiting.get(timeout=self._pause())))
            if self._stopping.is_set():
                return
            if self._pause() <= 0:
                self._settled = time.monotonic()
                try:
                    self.settle()
                except Exception:  # nobody would miss a thread that ended here for weeks
                    log.exception("the history of addresses could not be compared, trying again")

    def _pause(self) -> float:
        return max(0.0, self._settled + EVERY_S - time.monotonic())

    def _gathered(self, first: Line | None) -> list[Line]:
        lines = [first]
        with suppress(queue.Empty):
            while True:
                lines.append(self._waiting.get_nowait())
        return [line for line in lines if line is not None]

    def _write(self, lines: Sequence[Line]) -> None:
        if lines:
            self._complain(diary.append(self._state_dir, lines))

    def _complain(self, why: str) -> None:
        if why and why != self.trouble:
            log.warning(
                "who had which address is not written down: %s; next: df -h %s",
                why,
                self._state_dir,
            )
        self.trouble = why

    def settle(self) -> None:
        """Compare with the attachments, and turn the file over if it has grown."""
        try:
            self._settle()
        except OSError as error:
            self._complain(str(error))

    def _settle(self) -> None:
        if not (self._state_dir / diary.DIRECTORY).exists() and not self._ipam.places():
            return
        self._read_again()
        self._write(missing(self._open, self._attached(), boot=pods.boot_id(), now=self._wall()))
        self._read_again()
        if self._read_to > self._most_bytes:
            self._turn_over()

    def _read_again(self) -> None:
        """What began and has not ended: of the file only what is new, unless it is another one now."""
        path = self._state_dir / diary.DIRECTORY / diary.NAME
        with suppress(FileNotFoundError), path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_ino != self._inode or found.st_size < self._read_to:
                self._open, self._inode, self._read_to = {}, found.st_ino, 0
                self._take(read(self._state_dir, diary.BEFORE)[0])
            file.seek(self._read_to)
            data = file.read(diary.TWICE + diary.MOST_BYTES)
            self._read_to += len(data)
            self._take(diary.parse(data)[0])

    def _take(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if line.do == diary.ADD:
                self._open.setdefault(line.owner, line)
            else:
                self._open.pop(line.owner, None)

    def _attached(self) -> list[Line]:
        found = []
        for place in self._ipam.places():
            with suppress(OverlayError):
                if record := self._ipam.record_at(place):
                    found.append(diary.began(record))
        return found

    def _turn_over(self) -> None:
        """The file becomes the former one; the new one begins with what has not ended. Nobody ever finds none."""
        home = self._state_dir / diary.DIRECTORY
        now, before = home / diary.NAME, home / diary.BEFORE
        aside = home / f".{diary.BEFORE}"
        with suppress(FileNotFoundError):
            aside.unlink()
        os.link(now, aside)
        aside.replace(before)
        write_atomic(now, b"".join(diary.encode(line) for line in self._open.values()), mode=0o600)


def missing(
    known: Mapping[tuple[str, str, str], Line], attached: Iterable[Line], *, boot: str, now: float
) -> list[Line]:
    """The lines that make the history agree with the attachments there are. Pure but for the boot's clock."""
    there = {line.owner: line for line in attached}
    booted = now - boot_clock()
    lines = []
    for owner, line in known.items():
        if line.boot and boot and line.boot != boot:
            lines.append(diary.ended(owner, diary.REBOOT, at=max(line.at, booted)))
        elif owner not in there:
            lines.append(diary.ended(owner, diary.GONE, at=max(line.at, now)))
    closed = {line.owner for line in lines}
    for owner, line in there.items():
        if owner not in known or (owner in closed and line.boot == boot):
            lines.append(line if line.at else replace(line, at=now))
    return lines


def look(state_dir: Path, wish: Asked, *, now: float) -> dict[str, Any]:
    """Who had it: the youngest first, and how much of the history could not be read."""
    lines, skipped = read(state_dir)
    found = matching(spans(lines), wish, now=now)
    return {
        "rows": [row(one) for one in found[:MOST_ROWS]],
        "left_off": max(0, len(found) - MOST_ROWS),
        "skipped": skipped,
        "oldest": min((line.at for line in lines), default=None),
    }


def read(state_dir: Path, *names: str) -> tuple[list[Line], int]:
    """All lines, those of the former file first, and how many are none."""
    lines, skipped = list[Line](), 0
    for name in names or (diary.BEFORE, diary.NAME):
        with suppress(OSError), (state_dir / diary.DIRECTORY / name).open("rb") as file:
            some, bad = diary.parse(file.read(diary.TWICE + diary.MOST_BYTES))
            lines += some
            skipped += bad
    return lines, skipped
