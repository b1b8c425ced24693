"""All that the kernel holds of ours, read in as few steps as there are kinds."""

import errno
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import chain
from typing import TypeVar

from overlay.dataplane.read import Links, same
from overlay.dataplane.recognised import Recognised
from overlay.errors import KernelRefused
from overlay.model import RTPROT_KERNEL, Family, KernelObject
from overlay.netlink import Netlink, messages, parse, sift
from overlay.netlink.parse import Record

Info = TypeVar("Info", bound=Record)


class Entries:
    """Of one Dataplane, whose socket it asks by."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._known = Recognised()

    def read(
        self,
        seen: Links,
        want: Mapping[Hashable, KernelObject],
        observe: Callable[[Record], KernelObject | None],
    ) -> Iterable[tuple[Hashable, KernelObject]]:
        """All that is ours, with its key."""
        records: Iterable[Record] = chain(
            seen.by_index.values(),
            *(self.dump(messages.address_dump(it), parse.parse_address) for it in Family),
        )
        yield from (same(it, want) for record in records if (it := observe(record)))
        self._known.begin(seen, want)
        for request, parser, passed_over in _requests(seen):
            listed = bodies(self._netlink, request)
            for body in sift.others(listed, protocol=passed_over) if passed_over else listed:
                known = self._known.find(body)
                if known is None and (record := parser(body)) and (it := observe(record)):
                    known = self._known.learn(body, same(it, want))
                if known is not None:
                    yield known
        self._known.end()

    def dump(self, request: bytes, parser: Callable[[bytes], Info | None]) -> Iterable[Info]:
        """The answers to one request, but for those that the parser passes over."""
        yield from (
            it for body in bodies(self._netlink, request) if (it := parser(body)) is not None
        )


def bodies(netlink: Netlink, request: bytes) -> list[bytes]:
    """The answers to a dump, not yet taken apart; none from a table of routes that nobody has put anything into."""
    try:
        answers = netlink.dump(request)
    except KernelRefused as error:
        if error.errno != errno.ENOENT:
            raise
        return []  # before the first route the kernel has no main table
    return [body for _, body in answers]


def _requests(seen: Links) -> Iterable[tuple[bytes, Callable[[bytes], Record | None], int]]:
    """What lists all routes, neighbours and FDB entries that may be ours, what reads one, and the protocol of routes
    that are to be passed over because they were listed before (0: none are).

    The kernel filters, so a router's full table costs us nothing.
    """
    protocol = seen.marks.route_protocol
    tunnels = [index for index in seen.by_index if seen.ours(index, "vxlan")]
    bridges = [index for index in seen.by_index if seen.ours(index, "bridge")]
    for family in Family:
        yield messages.route_dump(family, protocol=protocol), parse.parse_route, 0
        for link in bridges:
            own = messages.route_dump(family, link=link, protocol=RTPROT_KERNEL)
            yield own, parse.parse_route, 0
        for link in tunnels:
            yield messages.route_dump(family, link=link), parse.parse_route, protocol
            yield messages.neighbour_dump(family, link=link), parse.parse_neighbour, 0
    for link in tunnels:
        yield messages.fdb_dump(link=link), parse.parse_neighbour, 0
