"""The search of the largest packet, and the packets themselves, for any path and any bytes."""

import math
from ipaddress import IPv4Address, ip_address

from hypothesis import given
from hypothesis import strategies as some

from agent.probes import packets
from agent.probes.packets import Reply, Request, Unreachable
from agent.probes.search import Search
from overlay.model import Family

LOW, HIGH = 84, 9000


@given(limit=some.integers(LOW, HIGH), rungs=some.integers(1, 15))
def test_a_path_without_loss_is_measured_exactly_in_few_rounds(limit: int, rungs: int) -> None:
    """By the byte; each round leaves one part in ``rungs`` + 1."""
    search, rounds = Search(LOW, HIGH, rungs=rungs), 0
    while not search.done:
        sizes = search.sizes()
        assert len(sizes) <= rungs
        assert all(search.low < size <= search.high for size in sizes)
        search.heard([size for size in sizes if size <= limit])
        rounds += 1
    assert search.low == limit
    assert rounds <= math.ceil(math.log(HIGH - LOW + 1, rungs + 1)) + 1


@given(limit=some.integers(LOW, HIGH), data=some.data())
def test_with_loss_it_ends_and_never_names_what_did_not_come_back(
    limit: int, data: some.DataObject
) -> None:
    """Any subset of what the path would carry may be lost in any round."""
    search, seen, rounds = Search(LOW, HIGH), {LOW}, 0
    while not search.done:
        carried = [size for size in search.sizes() if size <= limit]
        back = data.draw(some.sets(some.sampled_from(carried)) if carried else some.just(set()))
        seen |= back
        search.heard(back)
        rounds += 1
        assert rounds <= 2 * math.ceil(math.log(HIGH, 8)), "each round shrinks what is unknown"
    assert search.low == max(seen) <= limit


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    """Neither to a size of another round."""
    search = Search(100, 200)
    search.sizes()
    search.heard([5000, 150_000])
    assert search.low == 100
    assert search.high < 200


@given(raw=some.binary(max_size=200), length=some.integers(0, 70000))
def test_any_bytes_are_read_or_left(raw: bytes, length: int) -> None:
    """Nothing from outside raises; without our mark nothing is an answer."""
    for found in (packets.read_v4(raw, length), packets.read_v6(raw, length, "fd00::1")):
        assert found is None or isinstance(found, Unreachable) or packets.MARK in raw
    assert packets.read_v6(raw, length, "no address") is None


@given(
    size=some.integers(64, 9000), number=some.integers(1, 1 << 40), family=some.sampled_from(Family)
)
def test_an_echoed_request_is_its_answer(size: int, number: int, family: Family) -> None:
    """Of the length it was asked with, and with a checksum that is right."""
    sent = packets.request(family, ident=9, number=number, token=b"12345678", size=size)
    assert len(sent) == max(size, packets.LEAST_SIZE[family]) - packets.IP_HEADER[family]
    assert family is Family.V6 or packets.checksum(sent + bytes(len(sent) % 2)) == 0
    echoed = bytes((packets.REPLY[family],)) + sent[1:]
    if family is Family.V4:
        source, header = ip_address("10.5.2.0"), bytes((0x45,)) + bytes(11)
        head = header + source.packed + bytes(4)
        reply, request = (packets.read_v4(head + it, len(head + it)) for it in (echoed, sent))
    else:
        source = ip_address("fd00:5::")
        reply, request = (packets.read_v6(it, len(it), "fd00:5::%3") for it in (echoed, sent))
    whole = len(sent) + packets.IP_HEADER[family]
    assert reply == Reply(source, 9, number, b"12345678", whole)
    assert request == Request(source)


def test_an_error_is_believed_only_about_our_tunnels_packets() -> None:
    """It quotes what it is about: UDP to the tunnel's port."""
    quoted = bytes((0x45,)) + bytes(8) + bytes((17,)) + bytes(6) + bytes((192, 168, 50, 2))
    quoted += (40000).to_bytes(2, "big") + (8472).to_bytes(2, "big") + bytes(4)
    head = bytes((0x45,)) + bytes(11) + bytes((192, 168, 50, 2)) + bytes(4)
    error = head + bytes((3, 3)) + bytes(6) + quoted
    assert packets.read_v4(error, len(error)) == Unreachable(
        IPv4Address("192.168.50.2"), IPv4Address("192.168.50.2"), 8472, "port unreachable"
    )
    tcp = error.replace(bytes((17,)), bytes((6,)))
    assert packets.read_v4(tcp, len(tcp)) is None
