"""following: which news ends a pause, and which must not end the pause of an outage that is yet to come."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agent.etcd import Heard, Listing
from agent.following import Following
from agent.records import Keys
from agent.retry import Pauses
from overlay.errors import StoreUnavailable

LONG_S, SOON_S = 60.0, 10.0


class Store:
    """An etcd in memory whose streams last until they are ended."""

    def __init__(self) -> None:
        self.opened = 0
        self.ending = threading.Event()
        self.streams = threading.Semaphore(0)

    def ranges(self, *_spans: tuple[str, str]) -> Listing:
        """Nothing is there."""
        return Listing((), 5, 7)

    def watch(self, _spans: object) -> Any:  # noqa: ANN401 - a stream, closed by its user
        """A stream."""
        self.opened += 1
        self.streams.release()
        return Stream(self.ending)


class Stream:
    """Silent until it breaks."""

    def __init__(self, ending: threading.Event) -> None:
        self._ending = ending

    def __iter__(self) -> Iterator[Heard]:
        """It says nothing."""
        return self

    def __next__(self) -> Heard:
        """Once ended it fails, as a lost connection does."""
        self._ending.wait(SOON_S)
        self._ending.clear()
        raise StoreUnavailable("the line is cut")

    def close(self) -> None:
        """Nothing is held."""


class LongPauses(Pauses):
    """``begun`` is released when a pause is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)

    def failed(self) -> float:
        """Longer than any test."""
        self.begun.release()
        return LONG_S


@contextmanager
def followed(act: Callable[[Store, Following, LongPauses], None]) -> Iterator[Store]:
    """A following in a thread of its own, while ``act`` is done."""
    store, pauses, closing = Store(), LongPauses(), threading.Event()
    following = Following(store, Keys("/net"), closing=closing, pauses=pauses)  # type: ignore[arg-type]
    events = following.events(on_lost=lambda _: None, on_back=lambda: None)
    thread = threading.Thread(target=lambda: [None for _ in events], daemon=True)
    thread.start()
    try:
        assert store.streams.acquire(timeout=SOON_S)
        act(store, following, pauses)
        yield store
    finally:
        closing.set()
        store.ending.set()
        following.hurry()
        thread.join(SOON_S)
        assert not thread.is_alive()


def test_what_was_answered_while_the_stream_ran_ends_no_later_pause() -> None:
    """Each node claims once at its start: all of them would come back at the very moment etcd goes."""

    def act(store: Store, following: Following, pauses: LongPauses) -> None:
        following.answered()
        store.ending.set()
        assert pauses.begun.acquire(timeout=SOON_S)
        assert not store.streams.acquire(timeout=0.1)

    with followed(act) as store:
        assert store.opened == 1


def test_an_answer_to_somebody_else_and_a_new_connection_end_the_pause() -> None:
    """Also one that begins only now: the connection was dropped first."""

    def act(store: Store, following: Following, pauses: LongPauses) -> None:
        store.ending.set()
        assert pauses.begun.acquire(timeout=SOON_S)
        following.answered()
        assert store.streams.acquire(timeout=SOON_S)
        store.ending.set()
        following.hurry()
        assert store.streams.acquire(timeout=SOON_S)

    with followed(act) as store:
        assert store.opened == 3
