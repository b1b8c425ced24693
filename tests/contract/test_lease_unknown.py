"""Transactions that were done although their answer was lost: no lease twice, none deleted, none left over."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from agent.etcd import Etcd
from agent.registry import Registry
from overlay.errors import StoreUnavailable
from tests.contract.etcd_server import Server
from tests.contract.nodes import NETWORK, identity, subnets, take, tunnels

pytestmark = pytest.mark.contract


class Forgetful(Etcd):
    """The transactions of these numbers, from 1, are done at a member that is not heard, then asked for at the next."""

    unheard: frozenset[int] = frozenset()
    made = 0

    def lose(self, *numbers: int) -> None:
        """Of those that are made from now on."""
        self.unheard, self.made = frozenset(numbers), 0

    def txn(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        self.made += 1
        if self.made in self.unheard:
            super().txn(*args, **more)
        return super().txn(*args, **more)


@pytest.fixture
def store(etcd_server: Server) -> Iterator[Forgetful]:
    """A client of the test's own."""
    client = Forgetful([etcd_server.url], timeout_s=20)
    yield client
    client.close()


@pytest.fixture
def registry(store: Forgetful, prefix: str) -> Registry:
    """A registry whose answers may be lost."""
    return Registry(store, prefix, answer_s=0.2)


def test_a_claim_whose_answer_was_lost_is_held(registry: Registry, store: Forgetful) -> None:
    """One record, under the etcd lease that was granted for it."""
    store.lose(1)
    held = take(registry, 1, net=NETWORK)

    assert registry.snapshot().leases == {held.key: held}
    assert store.time_to_live(held.etcd_lease) > 0


def test_a_move_whose_answer_was_lost_is_done_once(registry: Registry, store: Forgetful) -> None:
    """The old record went with the transaction; the new one stays."""
    first, wish = take(registry, 1, net=NETWORK), ip_network("10.5.8.0/24")
    if wish in subnets(first):
        wish = ip_network("10.5.9.0/24")

    store.lose(1)
    held = take(registry, 1, net=NETWORK, want=[wish])

    assert registry.snapshot().leases == {held.key: held}
    assert subnets(held) == (wish,)


def test_a_record_that_was_taken_over_survives_a_lost_answer(
    registry: Registry, store: Forgetful, prefix: str
) -> None:
    """It was done: the next attempt finds it right, and peers never see it go."""
    old = take(registry, 1, net=NETWORK)
    heir = Registry(store, prefix, answer_s=0.2)

    store.lose(2)  # the question is heard, the take-over is not
    with pytest.raises(StoreUnavailable):
        heir.claim(identity(1), NETWORK, tunnels(9), ttl_s=60)
    later = heir.claim(identity(1), NETWORK, tunnels(9), ttl_s=60)

    assert (later.how, later.lease.create_revision) == ("kept", old.create_revision)
    assert store.time_to_live(later.lease.etcd_lease) > 0


def test_a_removal_whose_answer_was_lost_is_a_removal(registry: Registry, store: Forgetful) -> None:
    """No "changed in the meantime", and no etcd lease left over."""
    dead = take(registry, 1, net=NETWORK)

    store.lose(1)
    said = registry.by_hand.remove([dead], force=True)

    assert said == [f"{dead.key} is free"]
    assert registry.snapshot().leases == {}
    assert store.time_to_live(dead.etcd_lease) == -1
