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


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_two_nodes_whose_addresses_were_swapped_keep_their_subnets(
    store: Etcd, prefix: str, restarted: bool
) -> None:
    """Each asks the other, and the question itself says that its asker has gone elsewhere."""
    pair = {number: Registry(store, prefix, answer_s=3) for number in (1, 2)}
    before = {
        number: registry.claim(identity(number), NETWORK, tunnels(number), ttl_s=600).lease
        for number, registry in pair.items()
    }
    if restarted:
        pair = {number: Registry(store, prefix, answer_s=3) for number in pair}
    after: dict[int, Lease] = {}

    def move(number: int, to: int) -> None:
        pauses = Pauses()
        while number not in after:
            try:
                claimed = pair[number].claim(identity(number), NETWORK, tunnels(to), ttl_s=600)
            except StoreUnavailable:  # the other one wrote meanwhile
                pauses.wait(threading.Event())
            else:
                after[number] = claimed.lease

    threads = [threading.Thread(target=move, args=way) for way in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    shown = pair[1].snapshot().leases
    for number, to in ((1, 2), (2, 1)):
        now = shown[before[number].key]
        assert now.create_revision == before[number].create_revision  # never deleted
        assert [end.underlay for end in now.endpoints] == [tunnels(to)[Family.V4].underlay]
        assert not now.challenge


def test_a_question_from_before_its_asker_settled_says_nothing_of_where_it_is() -> None:
    """Left in our record by a node that asked, and then came to the address that we have now."""
    end = Endpoint(ip_network("10.5.2.0/24"), tunnels(2)[Family.V4].underlay, None, None)
    rival = Lease("k2", (end,), node="n2", mod_revision=5)
    ours = Lease("k1", (), node="n1", mod_revision=7)
    asked = replace(ours, challenge="n2/198.18.0.1/0123")

    assert has_moved(rival, asked, tunnels(2))
    assert not has_moved(replace(rival, mod_revision=8), asked, tunnels(2))
    assert not has_moved(replace(rival, node="n3"), asked, tunnels(2))
    assert not has_moved(rival, replace(asked, challenge="n2/198.18.0.2/0123"), tunnels(2))
    assert not has_moved(rival, ours, tunnels(2))
