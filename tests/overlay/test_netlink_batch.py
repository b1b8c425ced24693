"""Many requests in few datagrams: each one's fate in its place; and what a peer's three are made of, byte for byte."""

import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import KernelBusy, KernelRefused
from overlay.model import ROUTE_PROTOCOL, Family
from overlay.netlink import Netlink, datagrams, messages
from overlay.netlink import constants as c
from overlay.netlink.attributes import HEADER, attribute, message, number32

ENOENT = 2
SOME = 3 * datagrams.BATCH_MESSAGES + 7


class Refusing:
    """Answers as the kernel does, and refuses the requests whose places are in ``bad``."""

    def __init__(self, bad: frozenset[int] = frozenset(), *, breaks_at: int = -1) -> None:
        self.numbers: list[int] = []
        self.datagrams = 0
        self._bad, self._breaks_at = bad, breaks_at
        self._answers: list[bytes] = []

    def send(self, data: bytes, /) -> int:
        if self.datagrams == self._breaks_at:
            self.datagrams += 1
            raise OSError(105, "No buffer space available")
        assert not self._answers, "sent before the last answers were read"
        at = 0
        while at < len(data):
            length, _, flags, number, _ = HEADER.unpack_from(data, at)
            place = number - 1
            self.numbers.append(number)
            if place in self._bad or flags & c.NLM_F_ACK:
                self._answers.append(_answer(number, ENOENT if place in self._bad else 0))
            at += (length + 3) & ~3
        self.datagrams += 1
        return len(data)

    def recv(self, size: int, /) -> bytes:
        return self._answers.pop(0)[:size]

    def close(self) -> None:
        """Nothing to close."""


def _answer(number: int, code: int) -> bytes:
    body = struct.pack("=i", -code) + bytes(HEADER.size)
    return HEADER.pack(HEADER.size + len(body), c.NLMSG_ERROR, c.NLM_F_CAPPED, number, 0) + body


def _requests(count: int) -> Iterator[bytes]:
    return (messages.link_delete(number + 1) for number in range(count))


@given(st.integers(0, SOME), st.frozensets(st.integers(0, SOME)))
def test_every_request_has_its_own_fate_in_order(count: int, bad: frozenset[int]) -> None:
    """However many datagrams it takes, and whichever are refused; numbered in order, each sent once."""
    kernel = Refusing(bad)
    netlink = Netlink(kernel)

    fates = netlink.batch(_requests(count))

    refused = {place for place, fate in enumerate(fates) if fate is not None}
    assert len(fates) == count
    assert refused == {place for place in bad if place < count}
    assert all(isinstance(fates[place], KernelRefused) for place in refused)
    assert kernel.numbers == list(range(1, count + 1))
    assert netlink.changes == count - len(refused)
    assert kernel.datagrams == -(-count // datagrams.BATCH_MESSAGES)


@pytest.mark.parametrize("broken", [0, 1, 3])
def test_a_datagram_that_is_not_sent_takes_no_other_with_it(broken: int) -> None:
    """Its requests are to be tried again; those before and after it are done."""
    netlink = Netlink(Refusing(breaks_at=broken))

    fates = netlink.batch(_requests(SOME))

    first = broken * datagrams.BATCH_MESSAGES
    busy = [place for place, fate in enumerate(fates) if isinstance(fate, KernelBusy)]
    assert busy == list(range(first, min(first + datagrams.BATCH_MESSAGES, SOME)))
    assert len(fates) == SOME
    assert sum(fate is None for fate in fates) == netlink.changes == SOME - len(busy)


@given(
    st.ip_addresses(),
    st.integers(0, 128),
    st.ip_addresses() | st.none(),
    st.tuples(st.integers(1, 2**31 - 1), st.booleans(), st.sampled_from([ROUTE_PROTOCOL, 3])),
    st.sampled_from(["add", "append", "replace", "delete"]),
)
def test_a_route_from_its_frame_is_the_route_from_its_parts(
    address: object, length: int, via: object, how: tuple[int, bool, int], what: str
) -> None:
    """Byte for byte, any destination, with and without a gateway; twice, for the second is from memory."""
    link, onlink, protocol = how
    ip = ip_address(str(address))
    family = Family.of(ip)
    dst = ip_network(f"{ip}/{min(length, family.bits)}", strict=False)
    gateway = None if via is None else ip_address(str(via))
    onlink = onlink and what != "append"
    kind, flags = {
        "add": (c.RTM_NEWROUTE, c.NLM_F_CREATE | c.NLM_F_EXCL),
        "append": (c.RTM_NEWROUTE, c.NLM_F_CREATE | c.NLM_F_APPEND),
        "replace": (c.RTM_NEWROUTE, c.NLM_F_CREATE | c.NLM_F_REPLACE),
        "delete": (c.RTM_DELROUTE, 0),
    }[what]
    scope = c.RT_SCOPE_LINK if gateway is None and family is Family.V4 else c.RT_SCOPE_UNIVERSE
    if what == "delete":
        scope = c.RT_SCOPE_NOWHERE
    head = struct.pack(
        "=BBBBBBBBI",
        *(family.af, dst.prefixlen, 0, 0, c.RT_TABLE_MAIN, protocol, scope, c.RTN_UNICAST),
        c.RTNH_F_ONLINK if onlink else 0,
    )
    parts = [head, number32(c.RTA_OIF, link)]
    parts += [attribute(c.RTA_DST, dst.network_address.packed)] if dst.prefixlen else []
    parts += [attribute(c.RTA_GATEWAY, gateway.packed)] if gateway else []
    words = {"link": link, "via": gateway, "protocol": protocol}
    if what != "append":
        words["onlink"] = onlink
    for _ in range(2):
        assert getattr(messages, f"route_{what}")(dst, **words) == message(kind, flags, *parts)


@given(st.ip_addresses(), st.binary(min_size=6, max_size=6), st.integers(1, 2**31 - 1))
def test_neighbours_and_fdb_entries_from_frames_are_those_from_parts(
    address: object, mac: bytes, link: int
) -> None:
    """Byte for byte."""
    ip = ip_address(str(address))
    upsert = c.NLM_F_CREATE | c.NLM_F_REPLACE
    dst, lladdr = attribute(c.NDA_DST, ip.packed), attribute(c.NDA_LLADDR, mac)
    neighbour = struct.pack("=B3xiHBB", Family.of(ip).af, link, c.NUD_PERMANENT, 0, c.RTN_UNICAST)
    entry = struct.pack("=B3xiHBB", 7, link, c.NUD_PERMANENT, c.NTF_SELF, c.RTN_UNICAST)
    for _ in range(2):
        assert messages.neighbour_replace(link, ip, mac.hex(":")) == message(
            c.RTM_NEWNEIGH, upsert, neighbour, dst, lladdr
        )
        assert messages.fdb_replace(link, mac.hex(":"), ip) == message(
            c.RTM_NEWNEIGH, upsert, entry, lladdr, dst
        )
