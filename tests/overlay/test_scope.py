"""The scope of a peer's route: of the destination alone, harmless to every lookup, spread over all there are."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from overlay.dataplane.scope import SCOPES, scope_to
from overlay.model import Subnet
from overlay.netlink import constants as c
from overlay.netlink import messages
from overlay.netlink.attributes import HEADER

SCOPE_AT = HEADER.size + 6
"""Where a route's message has rtm_scope."""
SITE = 200
"""The lowest that has a name; from 253 (link) on a lookup takes notice."""
numbers = st.integers(0, 2**32 - 1)
lengths = st.integers(1, 32)


def subnet(number: int, length: int) -> IPv4Network:
    """The one of that length that has an address."""
    return IPv4Network((number >> (32 - length) << (32 - length), length))


@given(numbers, lengths, st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_it_follows_from_the_destination_and_no_lookup_takes_notice(
    number: int, length: int, via: object, other: object
) -> None:
    """Whatever the way: a peer that moves keeps it, and a route of it is taken for what it was before."""
    dst = subnet(number, length)
    assert scope_to(dst, via) == scope_to(dst, other)  # type: ignore[arg-type]
    assert 0 <= scope_to(dst, via) < SCOPES < SITE < c.RT_SCOPE_LINK  # type: ignore[arg-type]


@given(numbers, st.integers(8, 30))
def test_subnets_side_by_side_have_each_another(number: int, length: int) -> None:
    """As many as there are, in a row from anywhere: that is how leases lie."""
    step = 1 << (32 - length)
    row = [subnet((number + at * step) % 2**32, length) for at in range(SCOPES)]
    assert len({scope_to(it, it.network_address) for it in row}) == SCOPES


def test_it_can_be_told_from_the_subnet_by_eye() -> None:
    """For who looks at `ip route`."""
    for text, scope in (("10.244.7.0/24", 7), ("10.5.200.0/24", 72), ("10.5.1.128/25", 3)):
        dst = ip_network(text)
        assert scope_to(dst, dst.network_address) == scope


@given(numbers, lengths, st.booleans())
def test_it_is_in_the_message_and_a_deletion_asks_for_none(
    number: int, length: int, onlink: bool
) -> None:
    """What deletes a route has to meet one that an agent of before, or flannel, has made."""
    dst, via = subnet(number, length), ip_address("192.0.2.2")
    scope = scope_to(dst, via)
    for make in (messages.route_add, messages.route_replace):
        made = make(dst, link=7, via=via, onlink=onlink, scope=scope)
        assert made[SCOPE_AT] == scope
        plain = make(dst, link=7, via=via, onlink=onlink)
        assert (plain[:SCOPE_AT], plain[SCOPE_AT + 1 :]) == (made[:SCOPE_AT], made[SCOPE_AT + 1 :])
        assert plain[SCOPE_AT] == c.RT_SCOPE_UNIVERSE
    gone = messages.route_delete(dst, link=7, via=via, onlink=onlink)
    assert gone[SCOPE_AT] == c.RT_SCOPE_NOWHERE


def test_ipv6_and_what_has_no_gateway_have_none_of_their_own() -> None:
    """IPv6 does not know such a thing; the kernel's own route to our pods has the scope of a link."""
    six: Subnet = IPv6Network("fd00:5:0:7::/64")
    assert scope_to(six, six.network_address) == c.RT_SCOPE_UNIVERSE
    assert scope_to(ip_network("10.5.7.0/24"), None) == c.RT_SCOPE_UNIVERSE
    assert messages.route_append(ip_network("10.5.7.0/24"), link=7)[SCOPE_AT] == c.RT_SCOPE_LINK
