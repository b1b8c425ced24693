"""Following etcd: a list, then every change after it, without loss or duplicate, over any outage.

What was heard of each range is remembered by revision, and a stream that ends is taken up again right
behind it. Before that etcd is asked whether it still has the history we know: the same cluster, no older
revision, and the last record we heard of as we heard of it. If not, or if history was compacted meanwhile, all is
listed again. The config is one key that hardly ever changes: it is read instead of followed from where it was.
Beside them one more range may be listened to, of which only what is written from now on matters (`beside`).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from agent.etcd import Change, Etcd, Heard, Listing, Record, Span
from agent.events import Event, Gone, NetworkChanged, Put, Snapshot, Unreadable
from agent.records import Keys, parse_record, parse_records
from agent.retry import Pauses
from overlay.errors import BadRecord, Compacted, OverlayError, StoreReplaced

log = logging.getLogger(__name__)

_LEASES, _CONFIG, _BESIDE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What a process knew of etcd: the cluster's id, and the highest revision it heard of."""

    cluster: int
    revision: int


@dataclass(frozen=True, slots=True)
class Beside:
    """A range whose writes are handed to ``told``, in the watch's thread: it must be quick, and never fails.

    What is written while no stream is open is not told; a deletion never is.
    """

    start: str
    end: str
    told: Callable[[Record], None]


class Following:
    """One per process; ``events`` is for one thread, the attributes may be read from any."""

    def __init__(
        self,
        store: Etcd,
        keys: Keys,
        *,
        closing: threading.Event,
        pauses: Pauses | None = None,
    ) -> None:
        self.seen: Seen | None = None
        self.heard_at: float | None = None
        """Of the last sign of life, by time.monotonic()."""
        self.beside: Beside | None = None
        """Set before ``events``."""
        self._store, self._keys, self._closing = store, keys, closing
        self._wake = threading.Event()
        self._streaming = self._hurried = False
        self._pauses = pauses or Pauses()
        self._config_key = f"{keys.prefix}/config"
        self._next: dict[int, int] | None = None
        """Per range the first revision not heard of yet; None: all has to be listed."""
        self._witness: Record | None = None
        self._config: Record | None = None
        self._lost = False

    def hurry(self) -> None:
        """Etcd may answer by now: do not wait out the pause, nor the one that begins now."""
        self._hurried = True
        self._wake.set()

    def answered(self) -> None:
        """Etcd has answered somebody: do not wait out the pause, if there is one.

        What is not waiting must not remember it: thousands of nodes would come back at once when etcd goes.
        """
        if not self._streaming:
            self._wake.set()

    def events(
        self,
        *,
        on_lost: Callable[[str], None],
        on_back: Callable[[], None],
        seen: Seen | None = None,
    ) -> Iterator[Event]:
        """Until closed. ``seen`` is what the caller's copy on disk comes from.

        A stream that ends is no outage yet: ``on_lost`` is told when no member takes another one, and again at
        every attempt, for the reason may change.
        """
        away = False
        if seen is not None:
            self.seen = seen
            self._store.adopt(seen.cluster)
        while not self._closing.is_set():
            streaming = False
            try:
                if self._next is not None:
                    yield from self._resume()
                if self._next is None:
                    yield from self._list()
                with closing(self._store.watch(self._spans())) as stream:
                    streaming = self._streaming = True
                    if not self._hurried:  # else it is this very stream that was ended
                        self._wake.clear()
                    if away:
                        away = False
                        on_back()
                    for heard in stream:
                        self._pauses.progressed()
                        yield from self._take(heard)
            except Compacted:
                log.info("etcd has forgotten the history since our last event: listing again")
                self._next = None
            except StoreReplaced as error:
                self._replaced(error)
            except OverlayError as error:
                if self._closing.is_set():
                    return
                if streaming:
                    log.info("the watch ended, opening another: %s", error)
                else:
                    away = True
                    on_lost(f"{error}; next: {error.hint}" if error.hint else str(error))
            self._streaming = False
            if not self._closing.is_set():
                self._wake.wait(self._pauses.failed())
                self._hurried = False
                self._wake.clear()

    # --- lists -----------------------------------------------------------------------------------------

    def _list(self) -> Iterator[Event]:
        listing = self._store.ranges((self._keys.start, self._keys.end), (self._config_key, ""))
        lost = self._lost or self._contradicts(listing)
        if lost:
            log.warning(
                "etcd has lost its history (restored or replaced): cluster %x revision %d, we knew %s",
                listing.cluster,
                listing.revision,
                f"{self.seen.cluster:x} {self.seen.revision}" if self.seen else "none",
            )
        leases = [one for one in listing.records if one.key != self._config_key]
        config = next((one for one in listing.records if one.key == self._config_key), None)
        self.seen = Seen(listing.cluster, listing.revision)
        self.heard_at = time.monotonic()
        self._lost = False
        self._next = dict.fromkeys((_LEASES, _CONFIG, _BESIDE), listing.revision + 1)
        self._config = config
        self._witness = max(
            filter(_can_be_asked_for, leases), key=lambda one: one.mod_revision, default=None
        )
        snapshot = decoded(Listing(tuple(leases), listing.revision), self._keys.start)
        yield Snapshot(snapshot.leases, snapshot.unreadable, snapshot.revision, history_lost=lost)
        yield NetworkChanged(config.value if config else None)

    def _contradicts(self, listing: Listing) -> bool:
        """Every read goes through etcd's quorum, so it can never be older than what we have heard."""
        seen = self.seen
        return seen is not None and (
            listing.cluster != seen.cluster or listing.revision < seen.revision
        )

    def _resume(self) -> Iterator[Event]:
        """Is it still the history we know? And the config, which may be older than what etcd remembers.

        Raises Compacted if the former cannot be said any more.
        """
        witness = self._witness
        keys = {self._config_key: "", **({witness.key: ""} if witness else {})}
        listing = self._store.ranges(*keys.items())
        if self._contradicts(listing) or not self._stands(witness, listing):
            self._forget()
            return
        config = next((one for one in listing.records if one.key == self._config_key), None)
        if config != self._config:
            self._config = config
            yield NetworkChanged(config.value if config else None)
        if (
            self._next is not None
        ):  # else its first revision would soon be compacted, and all listed for it
            self._next[_CONFIG] = self._next[_BESIDE] = listing.revision + 1

    def _stands(self, witness: Record | None, listing: Listing) -> bool:
        if witness is None or witness in listing.records:
            return True
        # Changed or deleted since: then it was there when we heard of it.
        return witness in self._store.range(witness.key, revision=witness.mod_revision).records

    def _forget(self) -> None:
        self._next, self._lost = None, True

    def _replaced(self, error: StoreReplaced) -> None:
        log.warning("%s", error)
        self._store.adopt(error.cluster)
        self._forget()

    # --- streams -----------------------------------------------------------------------------------------

    def _spans(self) -> list[Span]:
        """From one revision before what is new, which `_take` leaves out.

        Before 3.4.34 and 3.5.16 a compaction at the very revision of a deletion removes that deletion, and a
        stream from there says nothing of it (etcd issue 18089); one from before it says that it is compacted.
        """
        first = self._next or {}
        spans = [
            Span(self._keys.start, self._keys.end, first[_LEASES] - 1),
            Span(self._config_key, "", first[_CONFIG] - 1),
        ]
        if (more := self.beside) is not None:
            spans.append(Span(more.start, more.end, first[_BESIDE], progress=False))
        return spans

    def _take(self, heard: Heard) -> Iterator[Event]:
        self.heard_at = time.monotonic()
        if self.seen is not None and heard.revision > self.seen.revision:
            self.seen = Seen(self.seen.cluster, heard.revision)
        if not heard.changes or self._next is None:
            return  # a progress report: the events up to its revision may still be to come
        if heard.span == _BESIDE:
            self._tell_beside(heard)
            return
        first = self._next[heard.span]
        for change in heard.changes:
            if change.revision >= first:
                yield self._event(change)
        self._next[heard.span] = max(first, heard.changes[-1].revision + 1)

    def _tell_beside(self, heard: Heard) -> None:
        for change in heard.changes:
            if change.record is not None and self.beside is not None:
                self.beside.told(change.record)

    def _event(self, change: Change) -> Event:
        if change.key == self._config_key:
            self._config = change.record
            return NetworkChanged(change.record.value if change.record else None)
        key = change.key.removeprefix(self._keys.start)
        if change.record is None:
            return Gone(key, change.revision)  # still a witness: etcd had it at its revision
        if _can_be_asked_for(change.record):
            self._witness = change.record
        try:
            return Put(parse_record(change.record, self._keys.start))
        except BadRecord as error:
            return Unreadable(key, str(error))


def _can_be_asked_for(record: Record) -> bool:
    """Not where a byte of its key was no text (agent.etcd.wire): that key would be another one."""
    return "\ufffd" not in record.key


def decoded(listing: Listing, start: str) -> Snapshot:
    """A list as leases and reasons why a record is none."""
    leases, unreadable = parse_records(listing.records, start)
    return Snapshot(leases, unreadable, listing.revision)
