"""What becomes of a batch's steps when the kernel is busy between two of its answers."""

import struct
from ipaddress import ip_address, ip_network

from overlay.dataplane.batches import Batches
from overlay.dataplane.entries import Entries
from overlay.dataplane.links import LinkDoor
from overlay.dataplane.read import UNSPECIFIED, Links
from overlay.errors import KernelBusy, KernelRefused
from overlay.model import Action, FdbEntry, Route, Step
from overlay.netlink import Netlink
from overlay.netlink import constants as c
from overlay.netlink.attributes import HEADER
from tests.overlay.test_netlink_batch import Refusing
from tests.overlay.test_recognised import DEVICE

EEXIST = 17


class Restless:
    """A kernel in which each new route stands in another's way, and whose lists change whenever they are read."""

    def __init__(self) -> None:
        self._answers: list[bytes] = []

    def send(self, data: bytes, /) -> int:
        """Requests."""
        offset = 0
        while offset < len(data):
            length, kind, _flags, number, _port = HEADER.unpack_from(data, offset)
            if kind == c.RTM_GETROUTE:
                self._answer(c.NLMSG_DONE, c.NLM_F_DUMP_INTR, number, struct.pack("=i", 0))
            else:
                self._answer(c.NLMSG_ERROR, 0, number, struct.pack("=i", -EEXIST) + bytes(16))
            offset += (length + 3) & ~3
        return len(data)

    def recv(self, size: int, /) -> bytes:
        """One answer."""
        return self._answers.pop(0)

    def close(self) -> None:
        """Nothing to do."""

    def _answer(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        self._answers.append(HEADER.pack(16 + len(payload), kind, flags, number, 0) + payload)


def test_a_list_that_changes_while_it_is_read_is_the_fate_of_the_steps_that_wait_for_it() -> None:
    """Of a router with a full table, say: no reason to end, and each step has its answer."""
    netlink = Netlink(Restless())
    links = LinkDoor(netlink)
    links.seen = Links.of([DEVICE], {})
    net, via = ip_network("10.5.2.0/24"), ip_address("10.5.2.0")
    step = Step(Action.ADD, Route(net, via, DEVICE.name))

    (fate,) = Batches(netlink, links, Entries(netlink)).carry_out([step], {})

    assert isinstance(fate, KernelBusy)


def test_what_goes_before_a_replacement_may_be_refused_where_that_is_done() -> None:
    """What was there is deleted first, and may have gone meanwhile: the fate is the second message's."""
    was = FdbEntry(DEVICE.name, "02:00:00:00:00:02", UNSPECIFIED)
    steps = [
        Step(Action.REPLACE, FdbEntry(was.link, was.mac, ip_address(f"192.0.2.{n}")), was)
        for n in (2, 3)
    ]
    kernel = Refusing(frozenset({0, 3}))  # the first one's deletion, the second one's new entry
    links = LinkDoor(netlink := Netlink(kernel))
    links.seen = Links.of([DEVICE], {})

    done, refused = Batches(netlink, links, Entries(netlink)).carry_out(steps, {})

    assert done is None
    assert isinstance(refused, KernelRefused)
    assert kernel.numbers == [1, 2, 3, 4]
