"""All that the kernel holds of ours, read in as few steps as there are kinds."""

import errno
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
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
        for request, parser in _requests(seen):
            for body in bodies(self._netlink, request):
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


def bodies(netlink: Netlink, request: bytes) -> Iterable[bytes]:
    """The answers to a dump, not yet taken apart; none from a table of routes that nobody has put anything into."""
    try:
        answers = netlink.dump(request)
    except KernelRefused as error:
        if error.errno != errno.ENOENT:
            raise
        return  # before the first route the kernel has no main table
    yield from (body for _, body in answers)


def _requests(seen: Links) -> Iterable[tuple[bytes, Callable[[bytes], Record | None]]]:
    """What lists all routes, neighbours and FDB entries that may be ours, and what reads one.

    The kernel filters, so a router's full table costs us nothing.
    """
    protocol = seen.marks.route_protocol
    others = partial(sift.others, protocol=protocol)
    tunnels = [index for index in seen.by_index if seen.ours(index, "vxlan")]
    bridges = [index for index in seen.by_index if seen.ours(index, "bridge")]
    for family in Family:
        by_protocol = messages.route_dump(family, protocol=protocol)
        yield by_protocol, parse.parse_route
        for link in bridges:
            yield messages.route_dump(family, link=link, protocol=RTPROT_KERNEL), parse.parse_route
        for link in tunnels:
            yield messages.route_dump(family, link=link), others
            yield messages.neighbour_dump(family, link=link), parse.parse_neighbour
    for link in tunnels:
        yield messages.fdb_dump(link=link), parse.parse_neighbour
