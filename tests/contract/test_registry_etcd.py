"""The registry on a real etcd: never two owners, nothing written twice, nothing lost."""

import random
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from agent.etcd import Etcd
from agent.events import Event, Gone, NetworkChanged, Put, Snapshot, Unreadable
from agent.registry import Registry
from overlay.errors import LeaseLost
from tests.contract.etcd_server import Server
from tests.contract.nodes import NETWORK, identity, network, tunnels

pytestmark = pytest.mark.contract


@pytest.fixture
def store(etcd_server: Server) -> Iterator[Etcd]:
    """A client."""
    client = Etcd([etcd_server.url], timeout_s=20)
    yield client
    client.close()


@pytest.fixture
def registry(store: Etcd, prefix: str) -> Registry:
    """An empty registry."""
    return Registry(store, prefix, rng=random.Random(1))


class Watcher:
    """Collects the watch's events in a thread."""

    def __init__(self, registry: Registry) -> None:
        self.events: list[Event] = []
        self.outages: list[str] = []
        self._registry = registry
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for event in self._registry.watch(on_lost=self.outages.append, on_back=lambda: None):
            if not isinstance(event, NetworkChanged):
                self.events.append(event)

    def until(self, count: int) -> list[Event]:
        """Wait for so many events."""
        deadline = time.monotonic() + 30
        while len(self.events) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.events) >= count, self.events
        return self.events

    def stop(self) -> None:
        """End the thread, within a second or so on a machine at rest."""
        self._registry.close()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def watcher(etcd_server: Server, prefix: str) -> Iterator[Watcher]:
    """A second client that watches."""
    made = Watcher(Registry(Etcd([etcd_server.url]), prefix))
    yield made
    made.stop()


def test_a_node_that_starts_again_keeps_its_subnet_and_writes_nothing(registry: Registry) -> None:
    """0 revisions for a restart and for a renewal, so 0 events at any peer."""
    first = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60)
    revision = registry.snapshot().revision

    again = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60)

    assert (first.how, again.how) == ("new", "kept")
    assert again.lease == first.lease
    assert registry.keep(again.lease) == 60
    assert registry.snapshot().revision == revision


def test_a_node_that_changed_its_address_is_rewritten_in_place(registry: Registry) -> None:
    """Same subnet, one put, no delete."""
    first = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60)

    moved = registry.claim(identity(1), NETWORK, tunnels(9), ttl_s=60)

    assert moved.how == "rewritten"
    assert moved.lease.key == first.lease.key
    assert moved.lease.create_revision == first.lease.create_revision
    assert list(registry.snapshot().leases) == [first.lease.key]


def test_a_lease_written_by_flannel_is_taken_up_by_its_address(
    registry: Registry, store: Etcd, prefix: str
) -> None:
    """The node moves over from flanneld and keeps its subnet."""
    record = (
        b'{"PublicIP":"198.18.0.1","PublicIPv6":null,"BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
    )
    store.put(f"{prefix}/subnets/10.5.7.0-24", record, lease=store.grant(60))

    claimed = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60)

    assert claimed.lease.key == "10.5.7.0-24"


def test_a_reservation_is_honoured_and_stays_without_expiry(
    registry: Registry, store: Etcd, prefix: str
) -> None:
    """A key without lease, by the node's name."""
    store.put(f"{prefix}/subnets/10.5.9.0-24", b'{"PublicIP":"0.0.0.0","Node":"n1"}')

    claimed = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60)

    assert (claimed.lease.key, claimed.lease.etcd_lease) == ("10.5.9.0-24", 0)
    assert registry.keep(claimed.lease) == 0


def test_the_subnet_one_had_is_preferred_and_used_ones_come_last(registry: Registry) -> None:
    """Prefer, then never used, then freed longest ago."""
    net = network("10.5.0.0/28", 30)  # three subnets
    prefer = (ip_network("10.5.0.8/30"),)
    first = registry.claim(identity(1), net, tunnels(1), prefer=prefer, ttl_s=60).lease
    assert first.key == "10.5.0.8-30"
    registry.release(first)

    second = registry.claim(identity(2), net, tunnels(2), ttl_s=60).lease
    third = registry.claim(identity(3), net, tunnels(3), ttl_s=60).lease
    assert first.key not in (second.key, third.key)
    assert registry.claim(identity(4), net, tunnels(4), ttl_s=60).lease.key == first.key


def test_an_unreadable_record_still_holds_its_subnet(
    registry: Registry, store: Etcd, prefix: str
) -> None:
    """Its key says what it holds; nobody else gets it."""
    net = network("10.5.0.0/28", 30)
    store.put(f"{prefix}/subnets/10.5.0.4-30", b"not json")
    store.put(f"{prefix}/subnets/10.5.0.8-30", b"{}")

    claimed = registry.claim(identity(1), net, tunnels(1), ttl_s=60)

    assert claimed.lease.key == "10.5.0.12-30"
    assert list(registry.snapshot().unreadable) == ["10.5.0.4-30"]


def test_a_node_with_pods_takes_no_other_subnet(registry: Registry) -> None:
    """Its pods would be cut off; it says who has theirs, and takes it again once it is free."""
    held = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease
    mine = [end.subnet for end in held.endpoints]
    registry.release(held)
    thief = registry.claim(identity(2), NETWORK, tunnels(2), prefer=mine, ttl_s=60).lease
    assert thief.key == held.key

    with pytest.raises(LeaseLost, match=f"leased as {held.key} to somebody else"):
        registry.claim(identity(1), NETWORK, tunnels(1), prefer=mine, insist=True, ttl_s=60)

    registry.release(thief)
    again = registry.claim(identity(1), NETWORK, tunnels(1), prefer=mine, insist=True, ttl_s=60)
    assert again.lease.key == held.key


@pytest.mark.parametrize("value", [b"damaged", b"{}"])
def test_pods_cut_off_by_a_record_that_is_nobodys_are_told_what_frees_it(
    registry: Registry, store: Etcd, prefix: str, value: bytes
) -> None:
    """Their own, damaged by hand while the agent was down: there is no node to go to, nor one to remove."""
    held = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease
    mine = [end.subnet for end in held.endpoints]
    store.put(f"{prefix}/subnets/{held.key}", value)

    with pytest.raises(LeaseLost) as caught:
        registry.claim(identity(1), NETWORK, tunnels(1), prefer=mine, insist=True, ttl_s=60)
    assert caught.value.hint.startswith(f"free it: overlayctl release {held.key}, or")

    registry.by_hand.free(tuple(mine), machine_id=held.machine_id, force=False)
    again = registry.claim(identity(1), NETWORK, tunnels(1), prefer=mine, insist=True, ttl_s=60)
    assert again.lease.key == held.key


def test_a_released_lease_is_gone_for_everybody(registry: Registry, watcher: Watcher) -> None:
    """Peers hear of it at once, and the next renewal says that it is lost."""
    watcher.until(1)
    lease = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease
    registry.release(lease)

    events = watcher.until(3)
    assert [type(event) for event in events] == [Snapshot, Put, Gone]
    with pytest.raises(LeaseLost):
        registry.keep(lease)


def test_an_unreadable_record_is_an_event_of_its_own(
    store: Etcd, prefix: str, watcher: Watcher
) -> None:
    """Never a deletion, never an empty list."""
    watcher.until(1)
    store.put(f"{prefix}/subnets/10.5.1.0-24", b"[]")

    assert isinstance(watcher.until(2)[1], Unreadable)


def test_nothing_is_lost_or_doubled_over_a_killed_etcd(
    etcd_server: Server, registry: Registry, watcher: Watcher
) -> None:
    """The watch goes on from the last revision; the outage is said."""
    watcher.until(1)
    lease = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease
    watcher.until(2)

    etcd_server.stop()
    time.sleep(1.0)
    etcd_server.start()
    other = registry.claim(identity(2), NETWORK, tunnels(2), ttl_s=60).lease

    events = watcher.until(3)
    assert events[1:] == [Put(lease), Put(other)]
    assert watcher.outages


def test_after_a_compaction_the_list_is_read_again(
    etcd_server: Server, registry: Registry, store: Etcd, prefix: str
) -> None:
    """A watcher that was away while history was forgotten gets a whole new Snapshot."""
    lease = registry.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease
    behind = Registry(Etcd([etcd_server.url]), prefix)
    stream = behind.watch(on_lost=lambda _: None, on_back=lambda: None)
    assert isinstance(next(stream), Snapshot)
    assert isinstance(next(stream), NetworkChanged)
    registry.release(lease)
    other = registry.claim(identity(2), NETWORK, tunnels(2), ttl_s=60).lease
    store.compact(registry.snapshot().revision)

    event = next(stream)

    assert isinstance(event, Snapshot)
    assert list(event.leases.values()) == [other]
    behind.close()
