"""What a record of the kernel was found to stand for is known again by its bytes. Pure.

Thousands of entries are read at each look, and hardly one differs from the look before. To take the bytes
apart and to make objects of them costs three quarters of a look; a dictionary look-up costs next to nothing.
The objects are values, so one that was right for these bytes is right for the same bytes again, as long as the
links bear the same names and marks: else everything is forgotten.
"""

import struct
from collections.abc import Hashable, Mapping

from overlay.dataplane.read import Links
from overlay.model import POD_LINK_PREFIX, KernelObject
from overlay.netlink import constants as c

_CACHE_INFO = struct.pack("=HH", 20, c.NDA_CACHEINFO)
"""The header of struct nda_cacheinfo: times of use, which change by themselves. Linux puts it last."""
_ROOM = 20
_AFTER = 4 - _ROOM
Known = tuple[Hashable, KernelObject]


class Recognised:
    """One per Dataplane: ``begin`` a look, then ``find`` or ``learn`` record by record, then ``end`` it."""

    def __init__(self) -> None:
        self._links: frozenset[tuple[object, ...]] = frozenset()
        self._want: Mapping[Hashable, KernelObject] = {}
        self._before: dict[bytes, Known] = {}
        self._now: dict[bytes, Known] = {}
        self._keys: dict[Hashable, Hashable] = {}

    def begin(self, links: Links, want: Mapping[Hashable, KernelObject]) -> None:
        """Keep of the last look what is still valid. Another ``want`` has other objects, equal or not."""
        standing = frozenset(
            (index, link.name, links.ours(index, link.kind))
            for index, link in links.by_index.items()
            if link.kind != "veth" or not link.name.startswith(POD_LINK_PREFIX)
        )
        if standing != self._links or want is not self._want:
            self._links, self._want, self._before = standing, want, {}
        self._now = {}

    def find(self, body: bytes) -> Known | None:
        """Key and value, as learnt in the last look; None of what this look has had before."""
        sign = body[:-_ROOM] if body[-_ROOM:_AFTER] == _CACHE_INFO else body  # `_sign`, for each
        known = self._before.get(sign)
        if known is not None:
            if sign in self._now:
                return None
            self._now[sign] = known
        return known

    def learn(self, body: bytes, known: Known) -> Known | None:
        """What a route, neighbour or FDB entry was found to be.

        The same again, but with the very key that ``want`` has: thousands of them are not held twice. None if this look
        has had it before: a list that changes while it is read may have a record twice, and the kernel holds one.
        """
        sign = _sign(body)
        if sign in self._now:
            return None
        if not self._keys:
            self._keys = {key: key for key in self._want}
        key, item = known
        known = self._now[sign] = (self._keys.get(key, key), item)
        return known

    def end(self) -> None:
        """What was not seen is not remembered."""
        self._before, self._now, self._keys = self._now, {}, {}


def _sign(body: bytes) -> bytes:
    return body[:-_ROOM] if body[-_ROOM:_AFTER] == _CACHE_INFO else body
