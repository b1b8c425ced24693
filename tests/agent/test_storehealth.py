"""The agent's eye on etcd: warned before it bites, said once, and never a failure of its own."""

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.etcd.members import Status
from agent.storehealth import DEFAULT_QUOTA, LEAST_S, QUOTA_S, StoreHealth, human, judge
from overlay.errors import StoreUnavailable

WELL = Status(
    cluster=1,
    member=2,
    version="3.5.1",
    leader=2,
    term=3,
    revision=40,
    size=1 << 20,
    in_use=1 << 19,
    learner=False,
    errors=(),
)
NEAR = replace(WELL, size=DEFAULT_QUOTA * 9 // 10)
FULL = replace(NEAR, errors=("memberID:2 alarm:NOSPACE ",))


class Store:
    """Answers what it is told to, and counts."""

    def __init__(self) -> None:
        self.now = 0.0
        self.status: Status | None = WELL
        self.quota: int | None = None
        self.looks: list[bool] = []
        self.health = StoreHealth(self.look, clock=lambda: self.now)

    def look(self, with_quota: bool) -> tuple[Status, int | None]:
        """As Registry.member."""
        self.looks.append(with_quota)
        if self.status is None:
            raise StoreUnavailable("etcd is away")
        return self.status, self.quota if with_quota else None


@given(size=st.integers(0, 1 << 40), quota=st.integers(-1, 1 << 40))
def test_a_warning_comes_at_four_fifths_of_the_quota_and_not_before(size: int, quota: int) -> None:
    """Whatever the sizes; a quota of 0 or less is none."""
    found = judge(replace(WELL, size=size, in_use=0), quota)

    assert bool(found) == (quota > 0 and size >= 0.8 * quota)


def test_what_mends_depends_on_what_fills_it() -> None:
    """Free pages are given back by defrag; what is in use needs a larger quota as well."""
    (free,) = judge(NEAR, DEFAULT_QUOTA)
    (used,) = judge(replace(NEAR, in_use=NEAR.size), DEFAULT_QUOTA)

    assert "quota-backend-bytes" not in free.mend
    assert "quota-backend-bytes" in used.mend
    assert "1.8 GiB of its quota of 2.0 GiB (90%, 512 KiB in use)" in free.text


def test_an_alarm_names_the_commands_that_mend_it() -> None:
    """A full store is said as such, not a second time as nearly full."""
    (full,) = judge(FULL, DEFAULT_QUOTA)
    (corrupt,) = judge(replace(WELL, errors=("memberID:2 alarm:CORRUPT ",)), DEFAULT_QUOTA)

    for word in ("compact", "defrag", "alarm disarm"):
        assert word in full.mend
    assert "hashkv" in corrupt.mend
    assert [one.text for one in judge(replace(WELL, leader=0), 0)] == ["etcd has no leader"]
    assert len(judge(replace(WELL, leader=0, errors=("etcdserver: no leader",)), 0)) == 1


def test_each_change_of_state_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Near, full, and well again: three messages, however often it is looked at."""
    caplog.set_level(logging.INFO)
    store = Store()
    for status in (WELL, NEAR, replace(NEAR, size=NEAR.size + 4096), FULL, FULL, WELL, WELL):
        store.status = status
        store.now += LEAST_S
        store.health.renewed()

    said = [record.message for record in caplog.records if "next:" not in record.message]
    assert len(store.looks) == 7
    assert [text.split(" ")[0:3] for text in said] == [
        ["etcd's", "database", "has"],
        ["etcd", "is", "full"],
        ["etcd", "is", "well"],
    ]
    assert store.health.trouble == ""


def test_the_renewal_at_the_start_does_not_ask() -> None:
    """Five thousand nodes that start together ask ten minutes later, each at a time of its own."""
    store = Store()
    store.health.renewed()
    assert not store.looks
    store.now += LEAST_S
    store.health.renewed()
    assert store.looks == [True]


def test_frequent_renewals_do_not_ask_more_often_but_trouble_is_looked_at_again() -> None:
    """One look a minute while it is well."""
    store = Store()
    store.health.look()
    for _ in range(10):
        store.now += 2
        store.health.renewed()
    assert len(store.looks) == 1

    store.status = FULL
    store.health.look()
    assert "alarm NOSPACE" in store.health.trouble
    store.status = WELL
    store.health.renewed()
    assert store.health.trouble == ""


def test_the_quota_is_asked_once_a_day_and_assumed_if_not_told() -> None:
    """/metrics is long, and a quota changes only with a restart of etcd."""
    store = Store()
    store.quota = 1 << 20
    store.health.look()
    assert "quota of 1.0 MiB" in store.health.trouble
    store.health.look()
    store.now += QUOTA_S
    store.quota = None
    store.health.look()

    assert store.looks == [True, False, True]
    assert store.health.trouble == ""


def test_an_etcd_that_is_away_is_not_reported_here() -> None:
    """And what was known stays."""
    store = Store()
    store.status = FULL
    store.health.look()
    before = store.health.trouble
    store.status = None
    store.health.look()

    assert store.health.trouble == before != ""


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 KiB"), (20480, "20 KiB"), (3 << 20, "3.0 MiB"), (5 << 29, "2.5 GiB")]
)
def test_sizes_as_people_read_them(size: int, text: str) -> None:
    """Powers of 1024."""
    assert human(size) == text
