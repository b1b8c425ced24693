"""Ranges of keys that a claim has to watch: every overlap lies in them, and few others do."""

from ipaddress import IPv4Network, IPv6Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from agent.claimranges import ranges
from overlay.model import Subnet
from overlay.schema import format_key, parse_key


def v4(address: int, length: int) -> IPv4Network:
    """A subnet around an address."""
    return IPv4Network((address >> (32 - length) << (32 - length), length))


lengths = st.integers(1, 32)
addresses = st.integers(0, (1 << 32) - 1)
six = ip_network("fd00:0:0:1::/64")


def _inside(key: str, subnet: IPv4Network) -> bool:
    found = ranges([subnet])
    assert found is not None
    return any(first <= key < last for first, last in found)


@given(addresses, lengths, lengths, st.integers(0, (1 << 32) - 1), st.booleans())
def test_every_record_that_overlaps_lies_in_the_ranges(
    address: int, length: int, other: int, host: int, dual: bool
) -> None:
    """Longer, shorter or equal, alone or with an IPv6 subnet behind it; and never too many compares for etcd."""
    subnet = v4(address, length)
    near = v4((int(subnet.network_address) | host & int(subnet.hostmask)), other)
    record: list[Subnet] = [near, six] if dual else [near]

    assert near.overlaps(subnet)
    assert _inside(format_key(record), subnet)
    padded = format_key(record).replace(f"-{other}", f"-{other:02}", 1)
    assert parse_key(padded) == tuple(record)
    assert _inside(padded, subnet)
    assert len(ranges([subnet]) or []) <= 64


@given(st.integers(0, 255), st.integers(0, 255))
def test_another_nodes_share_of_the_usual_size_is_no_conflict(one: int, other: int) -> None:
    """Two /24 of one /16: only the very same."""
    mine, theirs = v4(0x0A050000 + (one << 8), 24), v4(0x0A050000 + (other << 8), 24)

    assert _inside(format_key([theirs]), mine) == (one == other)


def test_where_the_text_says_nothing_the_whole_range_is_meant() -> None:
    """IPv6, alone or behind IPv4."""
    assert ranges([IPv6Network("fd00::/64")]) is None
    assert ranges([v4(0x0A050100, 24), six]) is None
