"""A cloned disk has the name, the machine id and the state of a node, and other network cards: it has to wait."""

import threading
import time
from collections.abc import Iterator

import pytest

from agent.etcd import Etcd
from agent.registry import Registry
from agent.twins import PATIENCE
from overlay.errors import BadConfig
from tests.contract.etcd_server import Server
from tests.contract.nodes import NETWORK, Living, identity, tunnels

pytestmark = pytest.mark.contract

ANSWER_S = 0.5


@pytest.fixture
def newcomer(etcd_server: Server, prefix: str) -> Iterator[Registry]:
    """A registry that has written nothing yet."""
    store = Etcd([etcd_server.url], timeout_s=20)
    yield Registry(store, prefix, answer_s=ANSWER_S)
    store.close()


def test_a_clone_of_the_same_name_waits_for_who_may_be_cut_off(
    newcomer: Registry, etcd_server: Server, prefix: str
) -> None:
    """The holder answers later than it would have to if it were this machine."""
    first, back = Living(etcd_server.url, prefix, 1), []
    first.stop()
    late = threading.Timer(2 * ANSWER_S, lambda: back.append(Living(etcd_server.url, prefix, 1)))
    late.start()
    try:
        with pytest.raises(BadConfig, match=r"n1 .*alive.*the machine id"):
            newcomer.claim(identity(1), NETWORK, tunnels(7), ttl_s=60)
        late.join()
        assert list(newcomer.snapshot().leases) == [first.claimed.lease.key]
    finally:
        late.join()
        for living in back:
            living.stop()


def test_a_machine_that_moved_takes_its_record_up_at_once(
    newcomer: Registry, etcd_server: Server, prefix: str
) -> None:
    """It was the one that wrote the state directory."""
    before = Living(etcd_server.url, prefix, 2)
    before.stop()
    began = time.monotonic()

    moved = newcomer.claim(identity(2), NETWORK, tunnels(9), at_home=True, ttl_s=60)

    assert moved.lease.key == before.claimed.lease.key
    assert time.monotonic() - began < PATIENCE * ANSWER_S / 2
