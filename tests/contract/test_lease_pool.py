"""The pool of subnets on a real etcd: one that runs out, the setting, reservations, what was lost."""

from ipaddress import ip_network

import pytest

from agent.registry import Registry
from overlay.errors import BadConfig, LeaseLost, OutOfSubnets
from tests.contract.nodes import (
    FIRST,
    NETWORK,
    SECOND,
    Counting,
    identity,
    network,
    subnets,
    take,
    tunnels,
)

pytestmark = pytest.mark.contract


# --- a pool that runs out ------------------------------------------------------------------------


def test_a_network_that_is_used_up_says_who_has_it_and_leaves_nothing(
    registry: Registry, store: Counting, prefix: str
) -> None:
    """How many, by whom, the oldest with their time, what to do next; the failed claim's grant is revoked."""
    net = network("10.5.0.0/26", 29)  # seven subnets
    for number in (1, 2):
        take(registry, number, net=net)
    free = [f"10.5.0.{n}-29" for n in range(8, 64, 8)]
    free = [key for key in free if key not in registry.snapshot().leases]
    start = f"{prefix}/subnets/"
    flannel = b'{"PublicIP":"198.18.9.9","BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00:99"}}'
    store.put(start + free[0], b"{}")
    store.put(start + free[1], b"not json")
    store.put(start + free[2], flannel, lease=store.grant(600))
    for number, key in enumerate(free[3:], 7):
        take(registry, number, net=net, prefer=[ip_network(key.replace("-", "/"))])

    with pytest.raises(OutOfSubnets) as out:
        take(registry, 20, net=net)

    text = str(out.value)
    assert (
        "all 7 of 10.5.0.0/26 with /29 are taken: 5 leases (198.18.9.9 1, n1 1, n2 1, n7 1, n8 1)"
        in text
    )
    assert (
        "1 reservations, 1 keys that cannot be read, 1 of the leases written by other agents"
        in text
    )
    assert "by n1 (address 198.18.0.1, machine 0" in text
    assert "9 min left unless renewed" in text
    assert ", since 20" in text
    assert "overlayctl leases --stale" in out.value.hint
    assert store.calls[-1] == "revoke"
    assert len(registry.snapshot().leases) == 6


# --- the setting `subnet` ------------------------------------------------------------------------


def test_the_setting_is_granted_or_says_who_has_it(registry: Registry) -> None:
    """Node, address, machine id and since when; and a subnet that is not the pool's names the pool."""
    held = take(registry, 1, want=[SECOND])
    assert subnets(held) == (SECOND,)

    with pytest.raises(
        BadConfig, match=r"subnet = 10\.5\.0\.8/30: .* held by n1 \(address 198.*, since 20"
    ):
        take(registry, 2, want=[SECOND])
    with pytest.raises(BadConfig, match=r"10\.9\.0\.0/30: not one of the pool 10\.5\.0\.0/28"):
        take(registry, 2, want=[ip_network("10.9.0.0/30")])
    assert list(registry.snapshot().leases) == [held.key]


def test_the_setting_moves_a_node_without_pods_and_no_other(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """With pods it keeps what they have addresses of, and says so."""
    first = take(registry, 1, want=[FIRST])

    kept = take(registry, 1, want=[SECOND], prefer=[FIRST], insist=True)
    assert kept.key == first.key
    assert "subnet = 10.5.0.8/30 is refused while pods are attached" in caplog.text

    moved = take(registry, 1, want=[SECOND], prefer=[FIRST])
    assert subnets(moved) == (SECOND,)
    assert list(registry.snapshot().leases) == [moved.key]


def test_one_family_may_be_asked_for_and_the_other_left_open(
    registry: Registry, prefix: str
) -> None:
    """A dual network, an IPv6 subnet by name; and both."""
    net = network("10.5.0.0/27", 30, v6="fd00:5::/60")
    six = ip_network("fd00:5:0:7::/64")
    held = registry.claim(identity(1), net, tunnels(1, v6=True), want=[six], ttl_s=60).lease
    assert subnets(held)[1] == six

    four = ip_network("10.5.0.28/30")
    with pytest.raises(BadConfig, match="held by n1"):
        registry.claim(identity(2), net, tunnels(2, v6=True), want=[four, six], ttl_s=60)


# --- lost and found ------------------------------------------------------------------------------


def test_a_lost_lease_is_claimed_again_with_the_same_subnet(
    registry: Registry, store: Counting
) -> None:
    """If nobody took it: whether it expired or was deleted, and however long ago."""
    first = take(registry, 1, net=NETWORK)
    store.revoke(first.etcd_lease)

    again = take(registry, 1, net=NETWORK, prefer=subnets(first), insist=True)

    assert (again.key, again.etcd_lease != first.etcd_lease) == (first.key, True)


def test_one_that_somebody_took_is_named_or_replaced(registry: Registry, store: Counting) -> None:
    """With pods no other will do; without, a node that comes back after weeks gets another."""
    first = take(registry, 1)
    store.revoke(first.etcd_lease)
    take(registry, 2, want=subnets(first))

    with pytest.raises(LeaseLost, match=r"somebody else: n2 \(address 198\.18\.0\.2") as lost:
        take(registry, 1, prefer=subnets(first), insist=True)
    assert "overlayctl node remove" in lost.value.hint
    assert take(registry, 1, prefer=subnets(first)).key != first.key


# --- reservations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b'{"PublicIP":"0.0.0.0","Node":"n1"}',
        b'{"PublicIP":"198.18.0.1"}',
        b'{"MachineID":"00000000000000000000000000000001"}',
        b'{"PublicIP":"198.18.0.1","PublicIPv6":null,"Node":"n1"}',
    ],
    ids=["name", "address", "machine", "both"],
)
def test_a_reservation_that_names_us_is_ours_and_stays_when_we_leave(
    registry: Registry, store: Counting, prefix: str, value: bytes
) -> None:
    """Kept without expiry; given back it names us still, and leads peers nowhere."""
    store.put(f"{prefix}/subnets/10.5.0.8-30", value)

    held = take(registry, 1)
    assert (held.key, held.etcd_lease) == ("10.5.0.8-30", 0)
    registry.release(held)

    left = registry.snapshot().leases["10.5.0.8-30"]
    assert [(end.mac, end.underlay) for end in left.endpoints] == [(None, None)]
    assert take(registry, 1).key == held.key


def test_a_reservation_for_nobody_is_never_given_out(
    registry: Registry, store: Counting, prefix: str
) -> None:
    """Nor one for another; whatever the pressure."""
    store.put(f"{prefix}/subnets/10.5.0.8-30", b"{}")
    store.put(f"{prefix}/subnets/10.5.0.12-30", b'{"PublicIP":"192.0.2.7"}')

    assert take(registry, 1).key == "10.5.0.4-30"
    with pytest.raises(OutOfSubnets, match="2 reservations"):
        take(registry, 2)
