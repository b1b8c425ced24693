"""What others undid, kept: bounded, in memory and in ``<state-dir>/drift.json``, so that it outlives the agent.

One entry per object and fate, however often it happens. The reconcile loop only notes; a thread of our own
writes some seconds later, so that no repair ever waits for a disk.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.culprits import UNKNOWN
from agent.moment import utc
from overlay.nodefile import write_atomic

log = logging.getLogger(__name__)

FILE_NAME = "drift.json"
MOST_KEPT = 500
MOST_BYTES = 4 << 20
GATHER_S = 3.0
"""So long after the first note the file is written: in a storm, so often."""
HOUR_S, DAY_HOURS = 3600, 24


MOST_PODS = 5
"""At a time: a bridge that is deleted concerns a hundred pods, and is one deed."""


class Entry(msgspec.Struct, frozen=True):
    """``object`` and ``fate`` tell entries apart, the words are of the last time.

    ``first`` and ``last`` are wall times, ``count`` is how often, ``culprit`` the likely name.
    """

    object: str
    fate: str
    change: str
    did: str
    culprit: str
    first: float
    last: float
    count: int = 1


class Page(msgspec.Struct, frozen=True):
    """The file. ``hours`` counts deeds by hour of the wall clock."""

    since: float
    entries: tuple[Entry, ...] = ()
    hours: dict[int, int] = {}


class History:
    """Notes in memory; a `Keeper` writes them. Thread-safe. ``wall`` is in seconds since 1970."""

    def __init__(self, *, wall: Callable[[], float] = time.time, page: Page | None = None) -> None:
        self.noted: Callable[[], None] = lambda: None
        """Called after each note; must be quick."""
        self.fights: Callable[[], Mapping[str, str]] = dict
        """Those over pods' links that go on, in words."""
        self._wall = wall
        self._lock = threading.Lock()
        page = page or Page(wall())
        self._since = page.since
        self._hours = dict(page.hours)
        self._entries = {_key(entry): entry for entry in page.entries}

    def pods(self, bent: Sequence[tuple[str, str]]) -> None:
        """Links of pods that were put right, each as the pod's place and what was wrong."""
        deeds = [(f"link of pod {place}", "bent", what) for place, what in bent[:MOST_PODS]]
        if len(bent) > MOST_PODS:
            deeds = [("links of pods", "bent", f"{bent[0][1]}, and the like of {len(bent)} pods")]
        if deeds:
            self.note((*deed, "set right", str(UNKNOWN)) for deed in deeds)

    def note(self, deeds: Iterable[tuple[str, str, str, str, str]]) -> None:
        """Deeds of this moment, each as object, fate, change, did and culprit."""
        now = self._wall()
        with self._lock:
            for deed in deeds:
                fresh = Entry(*deed, first=now, last=now)
                was = self._entries.pop(_key(fresh), None)
                if was is not None:
                    fresh = msgspec.structs.replace(fresh, first=was.first, count=was.count + 1)
                self._entries[_key(fresh)] = fresh  # the youngest last
                hour = int(now // HOUR_S)
                self._hours[hour] = self._hours.get(hour, 0) + 1
            for key in list(self._entries)[: max(0, len(self._entries) - MOST_KEPT)]:
                del self._entries[key]
            self._forget_hours(now)
        self.noted()

    def day(self) -> int:
        """How many deeds the last day has seen."""
        with self._lock:
            self._forget_hours(self._wall())
            return sum(self._hours.values())

    def page(self) -> Page:
        """All of it, the youngest first."""
        with self._lock:
            return Page(self._since, tuple(reversed(self._entries.values())), dict(self._hours))

    def _forget_hours(self, now: float) -> None:
        """Hours to come, too: the clock was set back, or the file is not to be believed."""
        hours = range(int(now // HOUR_S) - DAY_HOURS + 1, int(now // HOUR_S) + 1)
        self._hours = {hour: count for hour, count in self._hours.items() if hour in hours}


class Keeper:
    """A history that was read from disk, and is written there behind everybody's back."""

    def __init__(self, state_dir: Path, *, gather_s: float = GATHER_S) -> None:
        self.history = History(page=read(state_dir))
        self._path = state_dir / FILE_NAME
        self._gather_s = gather_s
        self._complaint = ""
        self._news, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift-history", daemon=True)
        self.history.noted = self._noted

    def stop(self, *, wait_s: float = 0.5) -> None:
        """Write what is not yet written, if that takes no longer than ``wait_s``."""
        self._stopping.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join(wait_s)

    def _noted(self) -> None:
        if self._thread.ident is None:  # most agents have nothing to write
            self._thread.start()
        self._news.set()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._stopping.wait(self._gather_s)
            self._news.clear()
            self._write()
            if self._stopping.is_set():
                return

    def _write(self) -> None:
        page = self.history.page()
        if not page.entries:
            return
        try:
            write_atomic(self._path, msgspec.json.encode(page), mode=0o600)
        except OSError as error:
            if str(error) != self._complaint:
                log.warning(
                    "what others undid cannot be kept on disk, a restart forgets it; file=%s why=%s next: df -h %s",
                    self._path,
                    error,
                    self._path.parent,
                )
            self._complaint = str(error)
            return
        self._complaint = ""


def read(state_dir: Path) -> Page | None:
    """What an earlier life left; a file that cannot be read is set aside and said."""
    path = state_dir / FILE_NAME
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        page = msgspec.json.decode(data, type=Page)
        for moment in (page.since, *(at for it in page.entries for at in (it.first, it.last))):
            utc(moment)  # or nobody could be shown it
    except FileNotFoundError:
        return None
    except (OSError, ValueError, OverflowError, RecursionError, msgspec.DecodeError) as error:
        aside = path.with_suffix(".unreadable")
        log.warning(
            "drift history unreadable, a new one begins file=%s kept_as=%s why=%s",
            path,
            aside,
            error,
        )
        with suppress(OSError):
            path.replace(aside)
        return None
    kept = tuple(reversed(page.entries[:MOST_KEPT]))  # in memory the youngest is last
    return Page(page.since, kept, page.hours)


def _key(entry: Entry) -> tuple[str, str]:
    return (entry.object, entry.fate)
