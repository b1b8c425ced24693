"""history: an expiry is written down by a few, whoever they are; the marks' text is tolerant."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from agent.events import Gone, Put, Snapshot
from agent.history import WRITERS, History, Mark, format_mark, is_writer, parse_mark
from overlay.model import Lease

names = st.sets(st.integers(0, 5000).map(lambda n: f"10.5.{n >> 8}.{n & 255}-32"), max_size=60)
ME = Lease("10.5.1.0-24", (), node="n1", machine_id="a" * 32, mod_revision=3)
PEER = replace(ME, key="10.5.2.0-24", node="n2", machine_id="b" * 32)
FLANNEL = Lease("10.5.3.0-24", (), mod_revision=3)


@given(names, st.integers(0, 5000))
def test_every_expiry_has_three_writers_or_all_there_are(keys: set[str], number: int) -> None:
    """Each node judges alone, and together they are exactly so many."""
    gone = f"gone-{number}"
    writers = [own for own in keys if is_writer(own, gone, keys)]
    assert len(writers) == min(WRITERS, len(keys))


@given(names.filter(lambda keys: len(keys) > WRITERS))
def test_the_writers_differ_from_key_to_key(keys: set[str]) -> None:
    """The work of many expiries is shared."""
    chosen = {
        frozenset(own for own in keys if is_writer(own, f"gone-{number}", keys))
        for number in range(40)
    }
    assert len(chosen) > 1


def test_what_ended_is_told_once_with_its_revision() -> None:
    """By an event, or by its absence in a new list; not by a list of another etcd."""
    history = History()
    assert history.told(Snapshot({ME.key: ME, PEER.key: PEER}, {}, 5), own=ME.key) == []
    assert history.told(Gone(PEER.key, 9), own=ME.key) == [(PEER.key, 9)]
    assert history.told(Put(PEER), own=ME.key) == []
    assert history.told(Put(FLANNEL), own=ME.key) == []
    missing = Snapshot({ME.key: ME}, {PEER.key: "unreadable, but there"}, 11)
    assert history.told(missing, own=ME.key) == [(FLANNEL.key, 11)]
    history.told(Put(PEER), own=ME.key)
    assert history.told(Snapshot({}, {}, 2, history_lost=True), own=ME.key) == []


def test_a_node_without_lease_writes_nothing_down() -> None:
    """Others will; it has no place in the ranking."""
    history = History()
    history.told(Put(PEER), own="")
    assert history.told(Gone(PEER.key, 9), own="") == []


@given(st.binary(max_size=80))
def test_a_hostile_mark_says_nothing(raw: bytes) -> None:
    """Marks are hints for people; what counts is etcd's revision."""
    assert isinstance(parse_mark(raw), Mark)


def test_a_mark_comes_back() -> None:
    """With the writer's time in UTC."""
    when = datetime(2026, 11, 25, 9, 26, 2, tzinfo=UTC)
    assert parse_mark(format_mark("claimed", ME, when)) == Mark(
        "claimed", "n1", "a" * 32, "2026-11-25 09:26:02Z"
    )
    assert parse_mark(format_mark("expired", None, when)).node == ""
