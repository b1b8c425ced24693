"""Of a long table of routes those that can matter, without paying for the rest. Pure.

A router may have a million routes, all by way of gateways; to make an ``ipaddress`` object of each would cost
seconds at every look. What is kept: default routes, routes without a gateway, and those inside one of these.
"""

from collections.abc import Iterable

from overlay.model import ROUTE_PROTOCOL
from overlay.netlink import constants as c
from overlay.netlink.attributes import unpack_attributes
from overlay.netlink.parse import RouteInfo, parse_route

_HEADER = 12
"""struct rtmsg, whose second byte is the destination's prefix length."""
_PROTOCOL_AT = 5


def others(bodies: Iterable[bytes], *, protocol: int = ROUTE_PROTOCOL) -> list[bytes]:
    """The routes that other programs made: of those of our ``protocol`` there are thousands, told from one byte."""
    return [body for body in bodies if body[_PROTOCOL_AT] != protocol]


def near(bodies: Iterable[bytes]) -> list[RouteInfo]:
    """The routes of one family that can matter, in the order of the dump.

    Raises:
        BadInput: bytes that do not add up.
    """
    kept: dict[int, RouteInfo] = {}
    far: list[tuple[int, bytes, bytes]] = []
    prefixes: dict[int, set[int]] = {}
    for place, body in enumerate(bodies):
        found = unpack_attributes(body, _HEADER)
        dst = found.get(c.RTA_DST)
        if dst is not None and c.RTA_GATEWAY in found and body[1]:
            far.append((place, body, dst))
            continue
        route = kept[place] = parse_route(body)
        length = route.dst.prefixlen
        if length:
            shift = route.dst.max_prefixlen - length
            prefixes.setdefault(length, set()).add(int(route.dst.network_address) >> shift)
    for place, body, dst in far:
        number, bits = int.from_bytes(dst, "big"), len(dst) * 8
        if any(
            length <= body[1] and number >> (bits - length) in known
            for length, known in prefixes.items()
        ):
            kept[place] = parse_route(body)
    return [kept[place] for place in sorted(kept)]
