"""Two nodes whose addresses were swapped, on a real etcd: neither's record is right, and neither is dead."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from agent.etcd import Etcd
from agent.registry import Registry
from agent.retry import Pauses
from agent.twins import has_moved
from overlay.errors import StoreUnavailable
from overlay.model import Endpoint, Family, Lease
from tests.contract.etcd_server import Server
from tests.contract.nodes import NETWORK, identity, tunnels

pytestmark = pytest.mark.contract


@pytest.fixture
def store(etcd_server: Server) -> Iterator[Etcd]:
    """One client for both."""
    client = Etcd([etcd_server.url], timeout_s=20)
    yield client
    client.close()


@pytest.mark.parametrize("many", [2, 3, 5])
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_nodes_that_got_each_others_addresses_keep_their_subnets(
    store: Etcd, prefix: str, restarted: bool, many: int
) -> None:
    """Each asks the next one, which says in its own record that it has gone elsewhere."""
    numbers = range(1, many + 1)
    nodes = {number: Registry(store, prefix, answer_s=3) for number in numbers}
    before = {
        number: registry.claim(identity(number), NETWORK, tunnels(number), ttl_s=600).lease
        for number, registry in nodes.items()
    }
    if restarted:
        nodes = {number: Registry(store, prefix, answer_s=3) for number in numbers}
    places = {number: number % many + 1 for number in numbers}

    def move(number: int) -> None:
        pauses = Pauses(most_s=1.0)  # half a minute is what a test has as a whole
        for _ in range(30):
            try:
                place = tunnels(places[number])
                nodes[number].claim(identity(number), NETWORK, place, at_home=True, ttl_s=600)
            except StoreUnavailable:  # another one wrote meanwhile
                pauses.wait(threading.Event())
            else:
                return

    threads = [threading.Thread(target=move, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    shown = nodes[1].snapshot().leases
    for number, place in places.items():
        now = shown[before[number].key]
        assert now.create_revision == before[number].create_revision  # never deleted
        assert [end.underlay for end in now.endpoints] == [tunnels(place)[Family.V4].underlay]
        assert not now.challenge


def test_only_a_records_owner_says_that_it_has_gone_elsewhere() -> None:
    """Neither our own question nor that of a third node says so, nor an owner that is still where we would be."""
    end = Endpoint(ip_network("10.5.2.0/24"), tunnels(2)[Family.V4].underlay, None, None)
    record = Lease("k2", (end,), node="n2", challenge="n2/198.18.0.1/0123")

    assert has_moved(record, tunnels(2))
    for text in ("", "n2", "n1/198.18.0.2/0123", "n3/198.18.0.1/0123", "n2/198.18.0.2/0123"):
        assert not has_moved(replace(record, challenge=text), tunnels(2))
