"""What a broken etcd does to a watch: reports ahead of events, half a watch, answers for another cluster."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from etcd3.etcdrpc import rpc_pb2

from agent.etcd import Etcd, Span
from overlay.errors import StoreReplaced
from tests.contract.etcd_follower import Follower, until
from tests.contract.fake_etcd import CLUSTER, FakeEtcd

pytestmark = pytest.mark.contract

P = "/net"


def quiet(requests: Iterator[Any]) -> Iterator[Any]:
    """Nothing more happens."""
    yield from ()
    for _ in requests:
        pass


def test_a_progress_report_ahead_of_its_events_loses_none() -> None:
    """etcd issue 15220: the stream breaks between the report of revision 30 and the event of 20."""

    def hasty(_: Iterator[Any]) -> Iterator[Any]:
        yield etcd.event(f"{P}/subnets/a", 12)
        yield rpc_pb2.WatchResponse(header=etcd.header(30), watch_id=-1)
        etcd.revision = 30

    with FakeEtcd(hasty, quiet) as etcd:
        follower = Follower(Etcd([etcd.url], timeout_s=20), P)
        until(lambda: len(etcd.asked) == 2)
        assert etcd.asked == [(10, 10), (12, 30)]  # from one before what is new: etcd issue 18089
        assert follower.registry.store_revision == 30
        assert (len(follower.snapshots), follower.outages) == (1, [])
        follower.stop()


def test_of_two_ranges_each_goes_on_where_it_was() -> None:
    """The config's event of revision 15 says nothing of the leases' one of 14, which may come later."""

    def one_range(_: Iterator[Any]) -> Iterator[Any]:
        yield etcd.event(f"{P}/config", 15, watch_id=1)

    with FakeEtcd(one_range, quiet) as etcd:
        follower = Follower(Etcd([etcd.url], timeout_s=20), P)
        until(lambda: len(etcd.asked) == 2)
        assert etcd.asked[1] == (10, 15)
        follower.stop()


def test_half_a_watch_is_none() -> None:
    """One of the two ranges is cancelled: the stream is replaced, both go on."""

    def half(requests: Iterator[Any]) -> Iterator[Any]:
        yield etcd.event(f"{P}/subnets/a", 12)
        yield rpc_pb2.WatchResponse(
            header=etcd.header(), watch_id=1, canceled=True, cancel_reason="internal error"
        )
        yield from quiet(requests)

    with FakeEtcd(half, quiet) as etcd:
        follower = Follower(Etcd([etcd.url], timeout_s=20), P)
        until(lambda: len(etcd.asked) == 2)
        assert etcd.asked[1] == (12, 12)
        assert (etcd.lists, follower.keys, follower.outages) == (1, ["a"], [])
        follower.stop()


def test_an_event_that_comes_twice_is_told_once() -> None:
    """A proxy or a bug sends again what we had."""

    def twice(requests: Iterator[Any]) -> Iterator[Any]:
        yield etcd.event(f"{P}/subnets/a", 12)
        yield etcd.event(f"{P}/subnets/a", 12)
        yield etcd.event(f"{P}/subnets/b", 13)
        yield from quiet(requests)

    with FakeEtcd(twice) as etcd:
        follower = Follower(Etcd([etcd.url], timeout_s=20), P)
        until(lambda: "b" in follower.keys)
        assert follower.keys == ["a", "b"]
        follower.stop()


def test_a_watch_of_another_cluster_is_ended_and_leaves_nothing_behind() -> None:
    """Its member was known, and is another one since: neither stream nor thread stays."""
    with FakeEtcd(quiet) as etcd:
        store = Etcd([etcd.url], timeout_s=20)
        store.range("/")
        etcd.cluster = CLUSTER + 1
        with pytest.raises(StoreReplaced):
            store.watch([Span("/a", "/b", 1), Span("/c", "", 1)])
        until(lambda: not [one for one in threading.enumerate() if one.name == "watch-pulse"])
        store.close()
