"""claim: a free subnet whatever is taken, and who a record belongs to."""

import random
import tracemalloc
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import twins
from agent.claim import Identity, Tunnel, check_wanted, choose, mine, rivals, serves
from agent.records import Span, overlap, span_of
from overlay.errors import BadConfig, OutOfSubnets
from overlay.model import Endpoint, Family, Lease, Subnet
from overlay.netconfig import nth, parse_network, subnets

NETWORK = parse_network(b'{"Network":"10.5.0.0/26","SubnetLen":30,"Backend":{"Type":"vxlan"}}')
POOL = NETWORK.pools[0]
ME = Identity("n1", "a" * 32, "0.1.0")
TUNNELS = {Family.V4: Tunnel(ip_address("192.0.2.1"), "02:00:00:00:00:01", 1)}


def spans(subnets: list[Subnet]) -> list[Span]:
    """As the registry hands them over."""
    return [span_of(net) for net in subnets]


networks = st.builds(
    lambda first, length: ip_network((first >> (32 - length) << (32 - length), length)),
    st.integers(0x0A000000, 0x0A00000F),
    st.integers(26, 32),
)
networks_v6 = st.builds(
    lambda first, length: ip_network((first >> (128 - length) << (128 - length), length)),
    st.integers(0xFD << 120, (0xFD << 120) + 15),
    st.integers(122, 128),
)


@given(st.lists(networks | networks_v6, max_size=4), st.lists(networks | networks_v6, max_size=4))
def test_subnets_overlap_as_ipaddress_says(some: list[Subnet], others: list[Subnet]) -> None:
    """Any of the one with any of the other, of the same family."""
    expected = any(
        one.version == other.version and one.overlaps(other) for one in some for other in others
    )
    assert overlap(some, others) is expected


def test_to_compare_subnets_leaves_nothing_in_them() -> None:
    """Thousands of leases hold theirs for good, and ipaddress keeps what it was once asked."""
    subnet = ip_network("10.5.1.0/24")
    before = dict(vars(subnet))
    assert span_of(subnet) == (4, 0x0A050100, 0x0A0501FF)
    overlap([subnet], [subnet])
    assert vars(subnet) == before


some = st.lists(st.integers(0, 14).map(lambda number: nth(POOL, number)), max_size=20)


@given(some, some, st.integers())
def test_what_is_chosen_is_free_and_fits_or_there_is_none(
    taken: list[Subnet], used: list[Subnet], seed: int
) -> None:
    """Whatever was taken or used before."""
    history = {net: place for place, net in enumerate(used)}
    try:
        (chosen,) = choose(NETWORK, spans(taken), prefer=(), used=history, rng=random.Random(seed))
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
        chosen = choose(NETWORK, spans(taken), prefer=(), used=history, rng=random.Random(seed))
        assert chosen == (free[0],)


def test_a_longer_or_shorter_neighbour_blocks_what_it_overlaps() -> None:
    """After SubnetLen was changed both lengths are about."""
    taken = [ip_network("10.5.0.0/27"), ip_network("10.5.0.33/32")]

    (chosen,) = choose(NETWORK, spans(taken), prefer=(nth(POOL, 0),), used={}, rng=random.Random(1))

    assert not any(chosen.overlaps(net) for net in taken)


def test_a_wide_record_among_many_small_subnets_costs_no_memory() -> None:
    """One of IPv6, by hand or of an earlier config, may hold more of them than memory does."""
    net = parse_network(
        b'{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/40","Backend":{"Type":"vxlan"}}'
    )
    half = [ip_network("fd00:5::/43"), ip_network("fd00:5::/44"), ip_network("fd00:5:1::/64")]
    wish = ip_network("fd00:5:0:9::/64")
    tracemalloc.start()
    try:
        (chosen,) = choose(net, spans(half), prefer=(wish,), used={}, rng=random.Random(1))
        with pytest.raises(OutOfSubnets, match="by 1 leases"):
            choose(net, spans([ip_network("fd00::/16")]), prefer=(), used={}, rng=random.Random(1))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not any(chosen.overlaps(one) for one in half)
    assert most < 1 << 20


def test_the_preferred_one_is_given_if_it_is_free_and_of_this_network() -> None:
    """A reboot keeps the subnet; one of another network is no wish we can grant."""
    wish = nth(POOL, 3)
    rng = random.Random(1)

    assert choose(NETWORK, [], prefer=(wish,), used={wish: 9}, rng=rng) == (wish,)
    assert choose(NETWORK, spans([wish]), prefer=(wish,), used={}, rng=rng) != (wish,)
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


def test_our_address_under_another_machine_id_is_found_and_doubtful() -> None:
    """A clone, or this machine installed anew: the holder has to be asked."""
    found = lease("192.0.2.1", machine="b" * 32, node="n7")

    assert mine([found], ME, TUNNELS) == found
    assert rivals([found, lease("192.0.2.1")], ME, TUNNELS) == [found]
    assert twins.doubtful(found, ME, TUNNELS)
    assert "n1" in str(twins.refusal(found, ME, TUNNELS))
    assert "n7 (address 192.0.2.1, machine bbbb" in str(twins.refusal(found, ME, TUNNELS))


def test_doubt_is_for_records_of_another_place_only() -> None:
    """A restart, a flannel record and a reservation are taken up without a question."""
    assert not twins.doubtful(lease("192.0.2.1", machine="a" * 32, node="n1"), ME, TUNNELS)
    assert not twins.doubtful(lease("192.0.2.1"), ME, TUNNELS)
    assert not twins.doubtful(lease("192.0.2.9", node="n1"), ME, TUNNELS)
    assert twins.doubtful(lease("192.0.2.9", machine="a" * 32, node="n1"), ME, TUNNELS)
    assert twins.doubtful(lease("192.0.2.1", machine="a" * 32, node="n2"), ME, TUNNELS)


def test_of_several_records_the_one_that_serves_comes_first() -> None:
    """After a change of the network both may be about for a while."""
    old = replace(lease("192.0.2.1", machine="a" * 32), create_revision=1)
    end = Endpoint(ip_network("10.9.0.0/24"), ip_address("192.0.2.1"))
    other = Lease("10.9.0.0-24", (end,), machine_id="a" * 32, create_revision=0)

    assert mine([other, old], ME, TUNNELS, NETWORK) == old
    assert mine([other, old], ME, TUNNELS) == other


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (["10.9.0.0/30"], r"subnet = 10\.9\.0\.0/30: not one of the pool 10\.5\.0\.0/26"),
        (["10.5.0.0/29"], r"has /30 from 10\.5\.0\.4/30 to 10\.5\.0\.60/30"),
        (["fd00::/64"], r"has no V6 pool"),
        (["10.5.0.4/30", "10.5.0.8/30"], "at most one"),
    ],
)
def test_a_wanted_subnet_must_be_the_pools(wanted: list[str], why: str) -> None:
    """Named with the pool it should be of."""
    with pytest.raises(BadConfig, match=why):
        check_wanted(NETWORK, [ip_network(text) for text in wanted])
    check_wanted(NETWORK, [nth(POOL, 2)])


def test_a_lease_of_another_subnet_length_no_longer_serves() -> None:
    """The config was changed: the node moves at its next start."""
    other = parse_network(b'{"Network":"10.5.0.0/26","SubnetLen":29,"Backend":{"Type":"vxlan"}}')

    assert serves(NETWORK, lease("192.0.2.1"))
    assert not serves(other, lease("192.0.2.1"))
