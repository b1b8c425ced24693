"""claim: a free subnet whatever is taken, and who a record belongs to."""

import random
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.claim import Identity, Tunnel, choose, mine, serves
from overlay.errors import BadConfig, OutOfSubnets
from overlay.model import Endpoint, Family, Lease, Subnet
from overlay.netconfig import nth, parse_network, subnets

NETWORK = parse_network(b'{"Network":"10.5.0.0/26","SubnetLen":30,"Backend":{"Type":"vxlan"}}')
POOL = NETWORK.pools[0]
ME = Identity("n1", "a" * 32, "0.1.0")
TUNNELS = {Family.V4: Tunnel(ip_address("192.0.2.1"), "02:00:00:00:00:01", 1)}

some = st.lists(st.integers(0, 14).map(lambda number: nth(POOL, number)), max_size=20)


@given(some, some, st.integers())
def test_what_is_chosen_is_free_and_fits_or_there_is_none(
    taken: list[Subnet], used: list[Subnet], seed: int
) -> None:
    """Whatever was taken or used before."""
    history = {net: place for place, net in enumerate(used)}
    try:
        (chosen,) = choose(NETWORK, taken, prefer=(), used=history, rng=random.Random(seed))
    except OutOfSubnets:
        assert set(taken) == set(subnets(POOL))
        return
    assert chosen not in taken
    assert chosen in set(subnets(POOL))
    fresh = set(subnets(POOL)) - set(taken) - set(used)
    assert chosen in fresh or not fresh


@given(some, st.integers())
def test_among_used_ones_the_one_used_longest_ago_is_taken(taken: list[Subnet], seed: int) -> None:
    """Addresses of a node that just left are not met again at once."""
    every = list(subnets(POOL))
    random.Random(seed).shuffle(every)
    history = {net: place for place, net in enumerate(every)}
    free = [net for net in every if net not in taken]
    if free:
        chosen = choose(NETWORK, taken, prefer=(), used=history, rng=random.Random(seed))
        assert chosen == (free[0],)


def test_a_longer_or_shorter_neighbour_blocks_what_it_overlaps() -> None:
    """After SubnetLen was changed both lengths are about."""
    taken = [ip_network("10.5.0.0/27"), ip_network("10.5.0.33/32")]

    (chosen,) = choose(NETWORK, taken, prefer=(nth(POOL, 0),), used={}, rng=random.Random(1))

    assert not any(chosen.overlaps(net) for net in taken)


def test_the_preferred_one_is_given_if_it_is_free_and_of_this_network() -> None:
    """A reboot keeps the subnet; one of another network is no wish we can grant."""
    wish = nth(POOL, 3)
    rng = random.Random(1)

    assert choose(NETWORK, [], prefer=(wish,), used={wish: 9}, rng=rng) == (wish,)
    assert choose(NETWORK, [wish], prefer=(wish,), used={}, rng=rng) != (wish,)
    assert choose(NETWORK, [], prefer=(ip_network("10.9.0.0/30"),), used={}, rng=rng)


def lease(address: str, machine: str = "", node: str = "") -> Lease:
    """A record of some node."""
    end = Endpoint(nth(POOL, 1), ip_address(address), "02:00:00:00:00:02", 1)
    return Lease("10.5.0.8-30", (end,), node=node, machine_id=machine)


def test_a_record_is_ours_by_machine_id_then_by_address_or_name() -> None:
    """flannel's records have only the address, a reservation perhaps only the name."""
    for ours in (
        lease("192.0.2.9", machine="a" * 32),
        lease("192.0.2.1"),
        lease("192.0.2.9", node="n1"),
    ):
        assert mine([lease("192.0.2.8", machine="c" * 32), ours], ME, TUNNELS) == ours
    assert mine([lease("192.0.2.9", machine="b" * 32, node="n1")], ME, TUNNELS) is None


def test_our_address_under_another_machine_id_names_both() -> None:
    """A clone is a fault that only an operator can mend."""
    with pytest.raises(BadConfig, match=r"192\.0\.2\.1 .*n1.*by n7 \(machine b+\)"):
        mine([lease("192.0.2.1", machine="b" * 32, node="n7")], ME, TUNNELS)


def test_a_lease_of_another_subnet_length_no_longer_serves() -> None:
    """The config was changed: the node moves at its next start."""
    other = parse_network(b'{"Network":"10.5.0.0/26","SubnetLen":29,"Backend":{"Type":"vxlan"}}')

    assert serves(NETWORK, lease("192.0.2.1"))
    assert not serves(other, lease("192.0.2.1"))
