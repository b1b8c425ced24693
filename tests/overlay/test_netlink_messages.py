"""Bytes of netlink: what we pack, the parser reads back; what nobody packed, it refuses clearly."""

import struct
from collections import deque
from contextlib import suppress
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import BadInput, KernelBusy, KernelRefused
from overlay.model import ROUTE_PROTOCOL, Address, Family
from overlay.netlink import Netlink, messages, parse
from overlay.netlink import constants as c
from overlay.netlink.attributes import HEADER, attribute
from overlay.netlink.frames import frames
from overlay.netlink.vxlan_info import VxlanInfo

MAC = "02:00:5e:10:00:01"
addresses = st.ip_addresses()
macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
links = st.integers(min_value=1, max_value=2**31 - 1)


def _payload(message: bytes) -> bytes:
    [(_kind, _flags, _sequence, payload)] = frames(message)
    return payload


def _subnet_text(address: Address, length: int) -> str:
    return f"{address}/{min(length, Family.of(address).bits)}"


@given(addresses, st.integers(0, 128), links, addresses, st.booleans())
def test_a_route_reads_back_as_it_was_packed(
    address: Address, length: int, link: int, via: Address, onlink: bool
) -> None:
    """Destination (the default route too), gateway, link, onlink and protocol survive the wire."""
    dst = ip_network(_subnet_text(address, length), strict=False)
    if Family.of(dst) is not Family.of(via):
        via = dst.network_address
    packed = messages.route_add(dst, link=link, via=via, onlink=onlink)

    route = parse.parse_route(_payload(packed))

    assert (route.dst, route.via, route.link) == (dst, via, link)
    assert (route.onlink, route.protocol, route.table) == (onlink, ROUTE_PROTOCOL, c.RT_TABLE_MAIN)
    assert route.kind == c.RTN_UNICAST


@given(links, addresses, macs)
def test_neighbours_and_fdb_entries_read_back(link: int, address: Address, mac: str) -> None:
    """Both are PERMANENT; only the FDB entry is the device's own (self)."""
    neighbour = parse.parse_neighbour(_payload(messages.neighbour_replace(link, address, mac)))
    entry = parse.parse_neighbour(_payload(messages.fdb_replace(link, mac, address)))

    assert (neighbour.family, neighbour.flags) == (Family.of(address).af, 0)
    assert (entry.family, entry.flags) == (parse.AF_BRIDGE, c.NTF_SELF)
    for record in (neighbour, entry):
        assert (record.link, record.address, record.mac) == (link, address, mac)
        assert record.state == c.NUD_PERMANENT
        assert record.plain


@given(links, addresses, st.integers(0, 128))
def test_an_address_reads_back(link: int, address: Address, length: int) -> None:
    """With its prefix length and host bits."""
    item = ip_interface(_subnet_text(address, length))

    record = parse.parse_address(_payload(messages.address_add(link, item)))

    assert (record.link, record.address) == (link, item)


@pytest.mark.parametrize("local", ["192.0.2.1", "2001:db8::1"])
def test_a_vxlan_reads_back(local: str) -> None:
    """All that fixes the device, in either family."""
    packed = messages.link_vxlan(
        "overlay.7", mac=MAC, mtu=1450, vni=7, port=8472, local=ip_address(local), lower=3, gbp=True
    )

    link = parse.parse_link(_payload(packed))

    assert (link.name, link.kind, link.mac, link.mtu) == ("overlay.7", "vxlan", MAC, 1450)
    assert link.vxlan == VxlanInfo(
        vni=7, port=8472, local=ip_address(local), lower=3, learning=False, gbp=True
    )


@pytest.mark.parametrize("bad", ["", "02:00", "02:00:5e:10:00:zz", "02:00:5e:10:00:01:02"])
def test_a_bad_mac_is_never_packed(bad: str) -> None:
    """The error names the value and the right form."""
    with pytest.raises(BadInput, match="aa:bb:cc:dd:ee:ff"):
        messages.link_bridge("br0", mac=bad, mtu=1450)


def test_the_group_of_everything_is_never_deleted() -> None:
    """Group 0 holds every link on the machine."""
    with pytest.raises(ValueError, match="group 0"):
        messages.group_delete(0)


@given(st.binary(max_size=200), st.sampled_from(range(c.RTM_NEWLINK, c.RTM_GETNEIGH + 1)))
def test_garbage_is_refused_clearly(data: bytes, kind: int) -> None:
    """Any bytes give a record, None, or BadInput; nothing else comes out."""
    with suppress(BadInput):
        parse.parse(kind, data)
    with suppress(BadInput):
        frames(data)
    for flags in (0, c.NLM_F_ACK_TLVS, c.NLM_F_ACK_TLVS | c.NLM_F_CAPPED):
        with suppress(BadInput):
            parse.error_of(data, flags)


@given(st.data())
def test_truncated_messages_are_refused_clearly(data: st.DataObject) -> None:
    """A real message cut anywhere, with a byte of it changed, gives a record or BadInput."""
    full = _payload(
        messages.link_vxlan(
            "overlay.1", mac=MAC, mtu=1450, vni=1, port=8472, local=ip_address("::1"), lower=2
        )
    )
    cut = bytearray(full[: data.draw(st.integers(0, len(full)))])
    if cut:
        cut[data.draw(st.integers(0, len(cut) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadInput):
        parse.parse(c.RTM_NEWLINK, bytes(cut))


class FakeKernel:
    """A transport whose answers are functions of the sequence number of what was sent."""

    def __init__(self, *answers: bytes | OSError) -> None:
        self.sent: list[bytes] = []
        self.answers = deque(answers)

    def send(self, data: bytes, /) -> int:
        self.sent.append(data)
        return len(data)

    def recv(self, size: int, /) -> bytes:
        answer = self.answers.popleft()
        if isinstance(answer, OSError):
            raise answer
        return answer

    def close(self) -> None:
        self.answers.clear()


def _answer(kind: int, sequence: int, payload: bytes, flags: int = 0) -> bytes:
    head = HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0)
    return head + payload + b"\0" * (-len(payload) % 4)


def _ack(sequence: int, errno: int = 0, words: str = "") -> bytes:
    payload = struct.pack("=i", -errno) + bytes(HEADER.size)
    if not words:
        return _answer(c.NLMSG_ERROR, sequence, payload, c.NLM_F_CAPPED)
    payload += attribute(c.NLMSGERR_ATTR_MSG, words.encode() + b"\0")
    return _answer(c.NLMSG_ERROR, sequence, payload, c.NLM_F_CAPPED | c.NLM_F_ACK_TLVS)


def _done(sequence: int, flags: int = 0) -> bytes:
    return _answer(c.NLMSG_DONE, sequence, bytes(4), flags)


@given(st.lists(st.sampled_from([b"", b"1234", b"12345678", bytes(12)]), max_size=6), st.data())
def test_messages_of_one_length_and_of_several_are_told_apart(
    payloads: list[bytes], data: st.DataObject
) -> None:
    """Those of one length are taken apart in one go: the same comes out, and what does not fit is refused as ever."""
    whole = b"".join(_answer(c.RTM_NEWLINK, number, it) for number, it in enumerate(payloads))
    expected = [(c.RTM_NEWLINK, 0, number, it) for number, it in enumerate(payloads)]
    assert frames(whole) == expected
    ends = {0} | {
        sum(HEADER.size + len(it) for it in payloads[: n + 1]) for n in range(len(payloads))
    }
    cut = data.draw(st.integers(0, len(whole)))
    if cut in ends:
        assert frames(whole[:cut]) == expected[: sorted(ends).index(cut)]
    else:
        with pytest.raises(BadInput):
            frames(whole[:cut])


def test_only_what_belongs_to_a_dump_is_in_it() -> None:
    """An acknowledgement of before and a message of netlink's own may share a datagram with the list."""
    kernel = FakeKernel(
        _answer(c.RTM_NEWLINK, 1, b"one!") + _answer(c.RTM_NEWLINK, 7, b"late"),
        _ack(7) + _answer(1, 1, b"noop") + _answer(c.RTM_NEWLINK, 1, b"two!"),
        _answer(c.RTM_NEWLINK, 1, b"last") + _done(1),
    )

    found = Netlink(kernel).dump(messages.link_dump())

    assert found == [(c.RTM_NEWLINK, it) for it in (b"one!", b"two!", b"last")]


def test_a_dump_interrupted_in_any_datagram_is_asked_for_again() -> None:
    """The mark may be on one message of many, long before the end."""
    kernel = FakeKernel(
        _answer(c.RTM_NEWLINK, 1, b"one!") + _answer(c.RTM_NEWLINK, 1, b"two!", c.NLM_F_DUMP_INTR),
        _answer(c.RTM_NEWLINK, 1, b"last"),
        _done(1),
        _answer(c.RTM_NEWLINK, 2, b"full") + _done(2),
    )

    assert Netlink(kernel).dump(messages.link_dump()) == [(c.RTM_NEWLINK, b"full")]


def test_an_interrupted_dump_is_asked_for_again() -> None:
    """What came with NLM_F_DUMP_INTR is thrown away, whole; the next try counts."""
    kernel = FakeKernel(
        _answer(c.RTM_NEWLINK, 1, b"half", c.NLM_F_DUMP_INTR) + _done(1),
        _answer(c.RTM_NEWLINK, 2, b"full"),
        _done(2),
    )

    assert Netlink(kernel).dump(messages.link_dump()) == [(c.RTM_NEWLINK, b"full")]

    assert len(kernel.sent) == 2


def test_a_dump_that_is_always_interrupted_is_busy() -> None:
    """After five tries the caller is told to come again; nothing half-read is handed out."""
    kernel = FakeKernel(*(_done(number, c.NLM_F_DUMP_INTR) for number in range(1, 6)))

    with pytest.raises(KernelBusy, match="RTM_GETLINK"):
        Netlink(kernel).dump(messages.link_dump())


def test_a_refusal_carries_errno_and_the_kernels_words() -> None:
    """What an operator can act on is in the text."""
    kernel = FakeKernel(_ack(1, 22, "Nexthop has invalid gateway"))

    with pytest.raises(KernelRefused, match=r"RTM_DELLINK.*Nexthop has invalid gateway") as caught:
        Netlink(kernel).request(messages.link_delete("x"))

    assert caught.value.errno == 22


def test_answers_to_earlier_requests_are_not_taken_for_ours() -> None:
    """A late acknowledgement with another number is passed over."""
    kernel = FakeKernel(_ack(77, 1), _ack(1))
    netlink = Netlink(kernel)

    netlink.request(messages.link_delete("x"))

    assert netlink.changes == 1


def test_lost_answers_make_the_silent_ones_busy() -> None:
    """ENOBUFS within a batch: what was answered keeps its answer, the rest must be tried again."""
    kernel = FakeKernel(_ack(1, 3), OSError(105, "No buffer space available"))
    netlink = Netlink(kernel)

    results = netlink.batch([messages.link_delete(number) for number in (1, 2, 3)])

    assert isinstance(results[0], KernelRefused)
    assert all(isinstance(result, KernelBusy) for result in results[1:])
    assert netlink.changes == 0


def test_asking_is_not_counted_as_a_change() -> None:
    """``changes`` counts what changed something."""
    netlink = Netlink(FakeKernel(_ack(1), _ack(2)))

    netlink.get(messages.link_get("lo"))
    netlink.get(messages.route_get(ip_address("192.0.2.9")))

    assert netlink.changes == 0
