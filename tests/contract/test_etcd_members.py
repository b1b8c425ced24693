"""Three members of a real etcd: one hangs, dies, loses its leader, comes back as another; all are wiped or restored."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.etcd import Etcd, deleting
from agent.events import Gone, NetworkChanged
from agent.registry import Seen
from e2e.proxy import Proxy
from overlay.errors import StoreUnavailable
from tests.contract.etcd_follower import TIMEOUT_S, Follower, Unshuffled, until
from tests.contract.etcd_server import VERSIONS, Cluster, Member, Server, ctl

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module", params=VERSIONS)
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """One for all tests of a version; each leaves all members running."""
    work = tmp_path_factory.mktemp("members")
    made = Cluster(work, version=request.param)
    yield made
    made.stop()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    """Makes followers that have their first list, and ends them."""
    made: list[Follower] = []

    def make(urls: list[str], prefix: str, *, seen: Seen | None = None) -> Follower:
        store = Etcd(urls, timeout_s=TIMEOUT_S, rng=Unshuffled())
        made.append(Follower(store, prefix, seen=seen))
        until(lambda: len(made[-1].events) >= 2)
        return made[-1]

    yield make
    for one in made:
        one.stop()


def _leader_last(cluster: Cluster) -> list[Member]:
    leader = cluster.leader()
    return sorted(cluster.members, key=lambda member: member is leader)


def test_a_member_that_hangs_is_left_after_one_deadline_and_not_asked_first_again(
    cluster: Cluster,
) -> None:
    """SIGSTOP: its kernel takes connections, nobody answers. A follower: no election is to be waited for."""
    hung, *others = _leader_last(cluster)
    urls = [member.url for member in (hung, *others)]
    store = Etcd(urls, timeout_s=TIMEOUT_S, rng=Unshuffled())
    store.range("/")
    assert store.endpoint == hung.url
    hung.freeze()
    try:
        store.range("/")
        assert store.endpoint in [one.url for one in others]
        store.range("/")
        assert store.endpoint in [one.url for one in others]
    finally:
        hung.thaw()
        store.close()


def test_a_watch_goes_on_at_another_member_without_loss_or_doubles(
    cluster: Cluster, prefix: str, follow: Callable[..., Follower]
) -> None:
    """The member it hangs on is killed, not the leader; that is no outage, and nothing is listed again."""
    killed, *others = _leader_last(cluster)
    follower = follow([one.url for one in (killed, *others)], prefix)
    writer = Etcd([one.url for one in others], timeout_s=20)
    writer.put(f"{prefix}/subnets/a", b"-")
    until(lambda: follower.keys == ["a"])

    killed.stop()
    try:
        for name in "bcd":
            writer.put(f"{prefix}/subnets/{name}", b"-")
        writer.put(f"{prefix}/config", b"{}")
        until(lambda: len(follower.events) == 7)
        assert follower.keys == ["a", "b", "c", "d"]
        assert NetworkChanged(b"{}") in follower.events[2:]  # the ranges keep order each for itself
        assert (len(follower.snapshots), follower.outages) == (1, [])
    finally:
        cluster.start()
        writer.close()


def test_without_a_leader_it_is_an_outage_that_ends_by_itself(
    cluster: Cluster, prefix: str, follow: Callable[..., Follower]
) -> None:
    """Two of three are gone: the third one answers, but not for the cluster. Said, and said once that it is over."""
    follower = follow(cluster.urls, prefix)
    for member in cluster.members[:2]:
        member.stop()
    try:
        until(lambda: follower.outages)
        with pytest.raises(StoreUnavailable, match=r"leader|timed out|within the deadline"):
            follower.store.range("/")
    finally:
        cluster.start()
    writer = Etcd(cluster.urls, timeout_s=20)
    writer.put(f"{prefix}/subnets/a", b"-")
    writer.close()
    until(lambda: follower.keys == ["a"])
    # Those that come back may elect twice, which is one outage more; each ends once.
    assert follower.returns
    assert (follower.needless, len(follower.snapshots)) == (0, 1)


def test_a_member_that_came_back_as_another_cluster_is_passed_over(
    cluster: Cluster, tmp_path: Path, prefix: str, follow: Callable[..., Follower]
) -> None:
    """Its disk was replaced and it started on its own: empty, and willing to take our writes."""
    stranger = Server(tmp_path)
    leader = cluster.leader()
    gone = next(one for one in cluster.members if one is not leader)
    follower = follow([gone.url, stranger.url, leader.url], prefix)
    gone.stop()
    try:
        follower.store.put(f"{prefix}/subnets/a", b"-")
        until(lambda: follower.keys == ["a"])
        assert len(follower.snapshots) == 1
        assert not stranger.ctl("get", "--prefix", prefix)
    finally:
        cluster.start()
        stranger.stop()


def test_history_that_went_back_is_never_taken_for_departures(
    cluster: Cluster, tmp_path: Path, prefix: str, follow: Callable[..., Follower]
) -> None:
    """Restored from a snapshot under the same name, then wiped under a new one: both are lists with a warning."""
    writer = Etcd(cluster.urls, timeout_s=20)
    writer.put(f"{prefix}/subnets/a", b"-")
    saved = tmp_path / "saved"
    ctl(cluster.urls[:1], "snapshot", "save", str(saved))
    follower = follow(cluster.urls, prefix)
    for _ in range(5):
        writer.put(f"{prefix}/subnets/b", b"-")
    until(lambda: len(follower.keys) == 5)
    before = follower.registry.seen

    cluster.stop()
    cluster.restore(saved)
    cluster.start()
    until(lambda: len(follower.snapshots) == 2)
    assert follower.snapshots[1].history_lost
    assert set(follower.snapshots[1].unreadable) == {"a"}

    # A process that starts now, with a copy from before, is told by its first list.
    late = follow(cluster.urls, prefix, seen=before)
    assert late.snapshots[0].history_lost

    cluster.stop()
    for member in cluster.members:
        member.forget()
    cluster.start(token="another")
    until(lambda: len(follower.snapshots) == 3)
    assert follower.snapshots[2].history_lost
    assert not follower.snapshots[2].unreadable
    assert follower.registry.seen
    assert before
    assert follower.registry.seen.cluster != before.cluster
    writer.close()


def test_another_history_that_has_grown_past_ours_is_noticed_after_a_departure(
    tmp_path: Path, prefix: str, follow: Callable[..., Follower]
) -> None:
    """Restored while we were away, under the same name, and others wrote; what we heard last was a deletion."""
    server = Server(tmp_path)
    writer = Etcd([server.url], timeout_s=20)
    try:
        with Proxy(("127.0.0.1", server.port)) as proxy:
            writer.put(f"{prefix}/subnets/a", b"-")
            follower = follow([f"http://{proxy.url}"], prefix)
            writer.put(f"{prefix}/subnets/b", b"-")
            writer.txn([], [deleting(f"{prefix}/subnets/b")])
            until(lambda: isinstance(follower.events[-1], Gone))

            proxy.cut()
            until(lambda: follower.outages)
            server.stop()
            server.forget()
            server.start()
            for number in range(10):
                writer.put(f"{prefix}/subnets/new{number}", b"-")
            proxy.heal()
            until(lambda: len(follower.snapshots) == 2)
            assert follower.snapshots[1].history_lost
            assert len(follower.snapshots[1].unreadable) == 10
    finally:
        writer.close()
        server.stop()
