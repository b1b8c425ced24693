"""Many that claim at once, what a claim costs, and the order in which subnets are used again; on a real etcd."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.etcd import Etcd
from agent.registry import Registry
from overlay.errors import OutOfSubnets, StoreUnavailable
from overlay.model import Lease
from tests.contract.etcd_server import Server
from tests.contract.nodes import (
    FIRST,
    NETWORK,
    SECOND,
    SMALL,
    Counting,
    Living,
    identity,
    network,
    subnets,
    take,
    tunnels,
)
from tests.contract.waiting import until

pytestmark = pytest.mark.contract


@pytest.fixture
def swift_etcd() -> Iterator[Server]:
    """In memory: what a busy disk needs for thousands of commits is not what is shown here."""
    memory = Path("/dev/shm")
    work = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    server = Server(work)
    yield server
    server.stop()
    shutil.rmtree(work, ignore_errors=True)


@pytest.mark.timeout(300)
def test_two_thousand_nodes_that_claim_at_once_get_two_thousand_subnets(
    swift_etcd: Server, prefix: str
) -> None:
    """On one /16: no subnet twice, nobody without, and each claim a few transactions at most."""
    stores = [Counting(swift_etcd.url) for _ in range(4)]
    registries = [Registry(store, prefix) for store in stores]
    net = network("10.5.0.0/16", 28)

    def one(number: int) -> Lease:
        for _ in range(5):  # as agent.life does: a busy etcd may say that it has timed out
            with contextlib.suppress(StoreUnavailable):
                return take(registries[number % 4], number, net=net)
        raise AssertionError(f"node {number} got nothing")

    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(one, range(2000)))

    calls = [call for store in stores for call in store.calls]
    assert len({lease.key for lease in held}) == 2000
    assert registries[0].snapshot().leases == {lease.key: lease for lease in held}
    assert calls.count("txn") < 5 * 2000
    for store in stores:
        store.close()


def test_racers_of_two_families_overlap_in_neither(etcd_server: Server, prefix: str) -> None:
    """Two keys that share only the IPv6 half are two keys for etcd; the range compare sees it."""
    stores = [Etcd([etcd_server.url], timeout_s=20) for _ in range(3)]
    net = network("10.5.0.0/27", 30, v6="fd00:5::/60")  # seven of IPv4, fifteen of IPv6

    def one(number: int) -> Lease:
        found = Registry(stores[number % 3], prefix)
        return found.claim(identity(number), net, tunnels(number, v6=True), ttl_s=600).lease

    with ThreadPoolExecutor(7) as pool:
        held = list(pool.map(one, range(1, 8)))

    every = [net for lease in held for net in subnets(lease)]
    assert len(every) == len(set(every)) == 14
    with pytest.raises(OutOfSubnets, match=r"all 7 of 10\.5\.0\.0/27"):
        one(8)
    for store in stores:
        store.close()


def test_a_claim_costs_one_range_one_grant_and_one_transaction(
    registry: Registry, store: Counting
) -> None:
    """However many leases and marks there are; taking it up again costs a range and a keepalive."""
    for number in range(1, 4):
        take(registry, number, net=NETWORK)
    store.calls.clear()

    take(registry, 4, net=NETWORK)
    assert store.calls == ["range", "grant", "txn"]
    take(registry, 4, net=NETWORK)
    assert store.calls[3:] == ["range", "keepalive"]


def test_an_expired_subnet_goes_to_the_end_of_the_queue(
    etcd_server: Server, registry: Registry, store: Counting, prefix: str
) -> None:
    """Nobody gave it back; a living peer writes down that it is free, once."""
    first = take(registry, 1, want=[FIRST])
    second = take(registry, 2, want=[SECOND])
    peer = Living(etcd_server.url, prefix, 3, net=SMALL)
    try:
        registry.release(second)
        store.revoke(first.etcd_lease)  # what etcd does at the end of a TTL
        mark = f"{prefix}/overlay/used/{first.key}"
        until(lambda: b"expired" in store.range(mark).records[0].value)

        registry.note_freed(second.key, second.mod_revision)  # late news changes nothing
        assert take(registry, 4).key == second.key
        assert take(registry, 5).key == first.key
    finally:
        peer.stop()


def test_a_subnet_that_is_leased_again_is_not_noted_as_free(
    registry: Registry, store: Counting
) -> None:
    """The news of its end comes late; the mark of the new claim is younger and stays."""
    first = take(registry, 1, want=[FIRST])
    store.revoke(first.etcd_lease)
    gone = registry.snapshot().revision
    take(registry, 2, want=[FIRST])

    registry.note_freed(first.key, gone)

    mark = store.range(f"{registry.prefix}/overlay/used/{first.key}").records[0]
    assert b"claimed" in mark.value
    assert b'"n2"' in mark.value
