"""ownrecord: what a change of our own record means, and how often one is put back."""

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.events import Event, Gone, Put, Snapshot, Unreadable
from agent.ownrecord import Verdict, change_in, judge
from agent.records import Claimed
from agent.twins import Answer, question, read_answer
from overlay.model import Endpoint, Lease

END = Endpoint(ip_network("10.5.1.0/24"), ip_address("192.0.2.1"), "02:00:00:00:00:01", 1)
OURS = Lease("10.5.1.0-24", (END,), "vxlan", "n1", "a" * 32, "0.1.0", 7, 5, 5)
MOVED = (replace(END, underlay=ip_address("192.0.2.9")),)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (replace(OURS, challenge="n2/192.0.2.9/1"), Verdict.ANSWER),
        (replace(OURS, etcd_lease=8, version="0.2.0"), Verdict.ACCEPT),
        (replace(OURS, etcd_lease=0), Verdict.ACCEPT),
        (replace(OURS, etcd_lease=8, node="", machine_id="", version=""), Verdict.ACCEPT),
        (replace(OURS, endpoints=(replace(END, mac="02:00:00:00:00:09"),)), Verdict.RESTORE),
        (replace(OURS, endpoints=MOVED), Verdict.RESTORE),
        (replace(OURS, endpoints=MOVED, etcd_lease=0), Verdict.RESTORE),
        (replace(OURS, node="n2"), Verdict.RESTORE),
        (replace(OURS, backend="host-gw"), Verdict.RESTORE),
        (Lease(OURS.key, MOVED, etcd_lease=8), Verdict.RESTORE),
        (replace(OURS, endpoints=MOVED, etcd_lease=8), Verdict.TAKEN),
        (replace(OURS, node="n2", etcd_lease=8), Verdict.TAKEN),
        (replace(OURS, machine_id="b" * 32, etcd_lease=8), Verdict.TAKEN),
    ],
)
def test_a_change_is_judged_by_what_it_says_and_by_its_lease(now: Lease, verdict: Verdict) -> None:
    """flanneld drops our fields and has a lease of its own; a twin has our fields and a lease of its own."""
    assert judge(OURS, now) is verdict


def test_a_reservation_taken_over_is_not_fought_for() -> None:
    """There is no etcd lease to tell the writers apart by; two agents must not put back each other's record."""
    ours = replace(OURS, etcd_lease=0)
    assert judge(ours, replace(ours, endpoints=MOVED)) is Verdict.TAKEN


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Put(replace(OURS, mod_revision=6)), (True, 6)),
        (Put(OURS), (False, 5)),
        (Put(replace(OURS, key="10.5.2.0-24", mod_revision=6)), (False, None)),
        (Unreadable(OURS.key, "why"), (True, None)),
        (Snapshot({OURS.key: replace(OURS, mod_revision=9)}, {}, 9), (True, 9)),
        (Snapshot({}, {OURS.key: "why"}, 9), (True, None)),
        (Snapshot({}, {}, 9), (False, None)),
        (Gone(OURS.key, 9), (False, None)),
    ],
)
def test_only_what_was_written_after_us_is_a_change(
    event: Event, expected: tuple[bool, int | None]
) -> None:
    """Our own writes come back by the watch, too."""
    changed, lease = change_in(event, Claimed(OURS, "new"))
    assert (changed, lease.mod_revision if lease else None) == expected
    assert change_in(event, None) == (False, None)


def test_an_answer_is_the_field_taken_away_and_nothing_else() -> None:
    """Another claimant's question over ours is none, and a deletion is a third thing."""

    asked = replace(OURS, challenge=question("n2", "192.0.2.9", random.Random(1)), mod_revision=8)
    assert read_answer(asked, asked) is Answer.SILENT
    assert read_answer(asked, replace(asked, challenge="n3/x/y", mod_revision=9)) is Answer.SILENT
    assert read_answer(asked, replace(OURS, mod_revision=9)) is Answer.ALIVE
    assert read_answer(asked, None) is Answer.GONE
    long = question("n" * 253, "a" * 200, random.Random(1))
    assert len(long) < 253  # a longer one would make the record unreadable
