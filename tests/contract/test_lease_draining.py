"""A subnet that is drained while its record is lost, by hand or with all of etcd: leased as long as it has pods."""

from ipaddress import ip_address

import pytest

from agent.events import Gone, Snapshot
from agent.keeping import Order, order_in
from agent.records import Claimed
from agent.registry import Registry
from overlay.model import Address
from tests.contract.etcd_server import Server
from tests.contract.nodes import Counting, identity, network, tunnels

pytestmark = pytest.mark.contract

BEFORE, NOW = network("10.5.0.0/16"), network("10.6.0.0/16")


def _claim(registry: Registry, *pods: Address) -> Claimed:
    return registry.claim(identity(1), NOW, tunnels(1), pods=pods, ttl_s=600)


def _drains(registry: Registry) -> tuple[Claimed, Address]:
    """A node of the new config, with a pod in the subnet that it has of the old one."""
    old = registry.claim(identity(1), BEFORE, tunnels(1), ttl_s=600).lease
    pod = ip_address(int(old.endpoints[0].subnet.network_address) + 2)
    held = _claim(registry, pod)
    assert [it.key for it in held.draining] == [old.key]
    return held, pod


def test_a_record_deleted_by_hand_is_written_again(
    registry: Registry, store: Counting, etcd_server: Server, prefix: str
) -> None:
    """Its etcd lease lives on, so no renewal tells; the event does, and the next claim puts it back."""
    held, pod = _drains(registry)
    (old,) = held.draining
    etcd_server.ctl("del", f"{prefix}/subnets/{old.key}")
    gone = registry.snapshot()
    assert old.key not in gone.leases
    assert order_in(Gone(old.key, gone.revision), held) is Order.AGAIN
    assert order_in(gone, held) is Order.AGAIN
    assert order_in(Gone(old.key, old.mod_revision), held) is None
    assert order_in(Gone("10.5.9.0-24", gone.revision), held) is None

    again = _claim(registry, pod)
    assert (again.lease.key, again.how) == (held.lease.key, "kept")
    (back,) = again.draining
    there = registry.snapshot().leases[old.key]
    assert there.content() == old.content()
    assert there.mod_revision == back.mod_revision
    assert registry.keep(back, look=True) > 0
    assert order_in(registry.snapshot(), again) is None

    assert _claim(registry).draining == ()  # its last pod is gone: nothing is put back any more
    assert _claim(registry).draining == ()
    assert list(registry.snapshot().leases) == [held.lease.key]


@pytest.mark.parametrize("value", [b"damaged", b"{}"])
def test_a_record_damaged_by_hand_is_written_again(
    registry: Registry, store: Counting, prefix: str, value: bytes
) -> None:
    """It names nobody, but hangs on our etcd lease; under somebody else's it would be his."""
    held, pod = _drains(registry)
    (old,) = held.draining
    store.put(f"{prefix}/subnets/{old.key}", value, lease=old.etcd_lease)
    (back,) = _claim(registry, pod).draining
    assert back.key == old.key
    assert registry.snapshot().leases[old.key].content() == old.content()

    store.put(f"{prefix}/subnets/{old.key}", value, lease=store.grant(60))
    assert _claim(registry, pod).draining == ()


def test_in_an_etcd_that_has_forgotten_all_both_are_claimed_again(
    registry: Registry, etcd_server: Server, prefix: str
) -> None:
    """The pods of the old subnet live as those of the new one do."""
    held, pod = _drains(registry)
    etcd_server.ctl("del", "--prefix", prefix)
    again = _claim(registry, pod)
    assert [it.key for it in again.draining] == [it.key for it in held.draining]
    assert registry.snapshot().leases.keys() == {again.lease.key, again.draining[0].key}


def test_what_somebody_has_by_now_is_not_taken_from_him(
    registry: Registry, etcd_server: Server, prefix: str
) -> None:
    """Never two owners: not for a part of it, either."""
    held, pod = _drains(registry)
    (old,) = held.draining
    etcd_server.ctl("del", f"{prefix}/subnets/{old.key}")
    part = f"{old.endpoints[0].subnet.network_address}-26"
    etcd_server.ctl("put", f"{prefix}/subnets/{part}", "{}")
    assert _claim(registry, pod).draining == ()
    assert isinstance(found := registry.snapshot(), Snapshot)
    assert found.leases.keys() == {held.lease.key, part}
