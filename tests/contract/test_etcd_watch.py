"""The watch over a line that breaks in every way, and before an etcd that misbehaves."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.etcd import Etcd, Heard, Span, Watch, deleting
from agent.etcd.idling import LOOK_AGAIN_S, sleep_on
from agent.events import Gone, NetworkChanged, Snapshot
from agent.registry import Registry
from e2e.proxy import DOWN, Proxy
from overlay.errors import StoreUnavailable
from tests.contract.etcd_follower import Follower, until
from tests.contract.etcd_server import VERSIONS, Server

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module", autouse=True)
def asleep_as_in_the_agent() -> None:
    """Whatever breaks has to wake the threads of channels, too; it stays so in this process."""
    assert sleep_on()


@pytest.fixture(scope="module", params=VERSIONS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One of each version, that takes large requests."""
    work = tmp_path_factory.mktemp("watch")
    made = Server(work, "--max-request-bytes", "3000000", version=request.param)
    yield made
    made.stop()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Between etcd and the watch."""
    with Proxy(("127.0.0.1", server.port)) as made:
        yield made


@pytest.fixture
def writer(server: Server) -> Iterator[Etcd]:
    """A client of its own line."""
    made = Etcd([server.url])
    yield made
    made.close()


@pytest.fixture
def follower(proxy: Proxy, prefix: str) -> Iterator[Follower]:
    """A registry behind the proxy that has its first list."""
    made = Follower(Etcd([f"http://{proxy.url}"], timeout_s=20), prefix)
    until(lambda: len(made.events) >= 2)
    yield made
    made.stop()


def test_leases_and_config_come_on_one_stream_and_over_a_cut_line(
    proxy: Proxy, writer: Etcd, prefix: str, follower: Follower
) -> None:
    """Every change of both ranges once, in order within each; neighbours of the ranges never."""
    assert isinstance(follower.events[0], Snapshot)
    assert follower.events[1] == NetworkChanged(None)
    writer.put(f"{prefix}/config", b"{}")
    writer.put(f"{prefix}/configuration", b"-")
    writer.put(f"{prefix}/subnets", b"-")
    writer.put(f"{prefix}/subnets/a", b"-")
    until(lambda: len(follower.events) == 4)

    proxy.cut()
    until(lambda: follower.outages)
    writer.put(f"{prefix}/subnets/b", b"-")
    writer.txn([], [deleting(f"{prefix}/subnets/a"), deleting(f"{prefix}/config")])
    proxy.heal()
    until(lambda: len(follower.events) == 7)

    assert NetworkChanged(b"{}") in follower.events[2:4]
    assert follower.keys == ["a", "b"]
    assert NetworkChanged(None) in follower.events[4:]
    assert [one.key for one in follower.events if isinstance(one, Gone)] == ["a"]
    assert (len(follower.snapshots), follower.returns) == (1, 1)
    assert follower.registry.heard_at
    assert follower.registry.store_revision >= follower.snapshots[0].revision + 6


def test_history_forgotten_while_cut_off_is_listed_again_with_the_config(
    proxy: Proxy, writer: Etcd, prefix: str, follower: Follower
) -> None:
    """Not lost, only forgotten: the list is an ordinary one."""
    proxy.cut()
    until(lambda: follower.outages)
    writer.put(f"{prefix}/subnets/a", b"-")
    writer.compact(writer.put(f"{prefix}/config", b"{}"))
    proxy.heal()
    until(lambda: len(follower.snapshots) == 2 and isinstance(follower.events[-1], NetworkChanged))

    again = follower.snapshots[1]
    assert list(again.unreadable) == ["a"]
    assert not again.history_lost
    assert follower.events[-1] == NetworkChanged(b"{}")


def test_a_key_that_is_no_text_bears_no_witness(
    proxy: Proxy, server: Server, prefix: str, follower: Follower
) -> None:
    """It was written last; nobody can ask for it again, which is no loss of history."""
    server.ctl("put", f"{prefix}/subnets/a\udcff", "-")
    until(lambda: len(follower.keys) == 1)
    proxy.cut()
    until(lambda: follower.outages)
    proxy.heal()
    until(lambda: follower.returns)
    server.ctl("put", f"{prefix}/subnets/b", "-")
    until(lambda: "b" in follower.keys or len(follower.snapshots) > 1)
    assert len(follower.snapshots) == 1


def test_a_config_older_than_what_etcd_remembers_costs_no_list(
    proxy: Proxy, writer: Etcd, prefix: str, follower: Follower
) -> None:
    """It was written once, long ago; the leases were heard of up to now, and go on from there."""
    writer.put(f"{prefix}/subnets/a", b"-")
    heard = writer.put(f"{prefix}/subnets/b", b"-")
    until(lambda: follower.keys == ["a", "b"])
    writer.compact(heard)
    proxy.cut()
    until(lambda: follower.outages)
    proxy.heal()
    until(lambda: follower.returns)
    writer.put(f"{prefix}/subnets/c", b"-")
    writer.put(f"{prefix}/config", b"{}")
    until(lambda: NetworkChanged(b"{}") in follower.events and len(follower.keys) == 3)
    assert follower.keys == ["a", "b", "c"]
    assert len(follower.snapshots) == 1


def test_a_stream_that_falls_silent_is_ended_and_one_that_is_only_quiet_is_not(
    proxy: Proxy, writer: Etcd, prefix: str
) -> None:
    """No event for many pulses: signs of life come. Nothing comes back any more: it is said."""
    store = Etcd([f"http://{proxy.url}"], timeout_s=20)
    first = writer.put(f"{prefix}/a", b"-") + 1
    heard = iter(store.watch([Span(f"{prefix}/a", "", first)], pulse_s=2.0))
    for _ in range(2):
        assert not next(heard).changes

    proxy.hang(DOWN)
    with pytest.raises(StoreUnavailable, match="silent"):
        assert not list(heard)
    store.close()


def test_a_member_that_hangs_while_a_watch_is_opened_costs_one_deadline(
    proxy: Proxy, prefix: str
) -> None:
    """Not one that never ends."""
    store = Etcd([f"http://{proxy.url}"], timeout_s=2)
    store.range("/")
    proxy.hang(DOWN)
    with pytest.raises(StoreUnavailable, match="no answer within the deadline"):
        store.watch([Span(prefix, "", 1)])
    store.close()


def _said(thread: threading.Thread, name: str) -> str:
    page = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return page.partition(f"{name}:")[2].partition("\n")[0].strip()


class Asleep:
    """A watch in a thread, which sleeps once this is made."""

    def __init__(self, store: Etcd, prefix: str, *, pulse_s: float = 20.0) -> None:
        self.heard: list[Heard] = []
        self.ended: list[str] = []
        self._watch: Watch = store.watch([Span(prefix, f"{prefix}~", 0)], pulse_s=pulse_s)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: self.said("State").startswith("S"))

    def said(self, name: str) -> str:
        """By the kernel, of the thread."""
        return _said(self._thread, name)

    def _run(self) -> None:
        try:
            self.heard.extend(self._watch)
        except StoreUnavailable as error:
            self.ended.append(str(error))
        else:
            self.ended.append("closed")

    def close(self) -> None:
        """End it."""
        self._watch.close()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


SOON_S = 10.0
"""Less than it takes until whoever was not woken looks by himself, or etcd is asked for a sign of life."""


@pytest.fixture
def asleep(proxy: Proxy, writer: Etcd, prefix: str) -> Iterator[Asleep]:
    """Behind the proxy."""
    assert LOOK_AGAIN_S > 2 * SOON_S
    store = Etcd([f"http://{proxy.url}"])
    made = Asleep(store, prefix)
    yield made
    made.close()
    store.close()


def test_a_sleeping_watch_is_woken_by_what_it_waits_for(
    writer: Etcd, prefix: str, asleep: Asleep
) -> None:
    """It looks by itself twice a minute only: an event has to wake it, each time."""
    for number in range(1, 4):
        writer.put(f"{prefix}/{number}", b"-")
        until(lambda number=number: len(asleep.heard) == number, most_s=SOON_S)  # type: ignore[misc]
        until(lambda: asleep.said("State").startswith("S"))


def test_a_sleeping_watch_is_woken_by_its_end(asleep: Asleep) -> None:
    """A stop that took half a minute would be a kill."""
    asleep.close()
    assert asleep.ended == ["closed"]


def test_a_sleeping_watch_is_woken_by_a_line_that_is_cut(proxy: Proxy, asleep: Asleep) -> None:
    """An outage is known at once."""
    proxy.cut()
    until(lambda: bool(asleep.ended), most_s=SOON_S)
    assert "etcd at" in asleep.ended[0]


def test_a_watch_that_hears_little_wakes_little(writer: Etcd, prefix: str) -> None:
    """grpc's own waiting would be twenty wakeups for each of these signs of life, which come every two seconds."""
    asleep = Asleep(writer, prefix, pulse_s=2.0)
    try:
        before = int(asleep.said("voluntary_ctxt_switches"))
        until(lambda: len(asleep.heard) >= 4)
        assert int(asleep.said("voluntary_ctxt_switches")) - before < 40
    finally:
        asleep.close()


def test_a_channel_without_news_wakes_none_of_its_threads(server: Server, prefix: str) -> None:
    """grpc's Python looks five times a second, once for each channel that has carried a stream."""
    before = {*threading.enumerate()}
    store = Etcd([server.url])
    watch = store.watch([Span(prefix, f"{prefix}~", 0)])
    made = {*threading.enumerate()} - before
    assert made

    def woken() -> int:
        return sum(int(_said(thread, "\nvoluntary_ctxt_switches")) for thread in made)

    def at_rest() -> bool:
        first = woken()
        time.sleep(2.0)
        return woken() - first <= 3

    # A busy machine wakes one now and then; who looks five times a second is never at rest.
    assert any(at_rest() for _ in range(5))
    watch.close()
    store.close()


def test_what_is_larger_than_a_message_of_grpc_arrives(writer: Etcd, prefix: str) -> None:
    """Six megabytes of history at once, and as a list."""
    large = b"x" * 1_500_000
    first = writer.put(f"{prefix}/subnets/0", large)
    for number in range(1, 4):
        writer.put(f"{prefix}/subnets/{number}", large)

    watch = writer.watch([Span(f"{prefix}/subnets/", f"{prefix}/subnets0", first)])
    found = 0
    for heard in watch:
        found += len(heard.changes)
        if found == 4:
            break
    watch.close()
    registry = Registry(writer, prefix)
    assert len(registry.snapshot().unreadable) == 4
