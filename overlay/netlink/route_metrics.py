"""The MTU that a route states: reading it, and the same route with another one. Pure.

A route's own MTU wins over its interface's (ip-route(8)), so one that is too large makes a black hole. What the
kernel listed is sent back as it is but for that number: nothing of the route is lost that we do not know.
"""

import struct

from overlay.errors import BadInput
from overlay.netlink.attributes import (
    attribute,
    message,
    nested,
    unpack_attributes,
    unpack_number,
)
from overlay.netlink.constants import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTA_CACHEINFO,
    RTA_ENCAP,
    RTA_ENCAP_TYPE,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_VIA,
    RTAX_MTU,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTNH_F_ONLINK,
)

_OF_NEXT_HOP = (RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA, RTA_ENCAP_TYPE, RTA_ENCAP)
"""Beside a next hop object listed, but refused."""
_RT = struct.Struct("=BBBBBBBBI")


def route_mtu(body: bytes) -> int:
    """The MTU of a listed route, in bytes; 0 where it states none."""
    metrics = unpack_attributes(_attributes(body).get(RTA_METRICS, b""), 0)
    return unpack_number(metrics[RTAX_MTU]) if RTAX_MTU in metrics else 0


def route_with_mtu(body: bytes, mtu: int, *, beside: bool = False) -> bytes:
    """A request that makes this listed route state another MTU, or (``beside``) for such a one after it."""
    found = _attributes(body)
    metrics = unpack_attributes(found.pop(RTA_METRICS, b""), 0)
    metrics[RTAX_MTU] = struct.pack("=I", mtu)
    parts = [attribute(kind, value) for kind, value in found.items()]
    parts.append(nested(RTA_METRICS, *(attribute(*metric) for metric in metrics.items())))
    flags = NLM_F_CREATE | (NLM_F_APPEND if beside else NLM_F_REPLACE)
    return message(RTM_NEWROUTE, flags, _head(body), *parts)


def route_deletion(body: bytes) -> bytes:
    """A request that takes away this listed route, and none that states another MTU."""
    parts = [attribute(kind, value) for kind, value in _attributes(body).items()]
    return message(RTM_DELROUTE, 0, _head(body), *parts)


def _head(body: bytes) -> bytes:
    *head, flags = _RT.unpack_from(body)
    return _RT.pack(
        *head, flags & RTNH_F_ONLINK
    )  # what it says of the state is not to be asked for


def _attributes(body: bytes) -> dict[int, bytes]:
    """Those that can be sent back."""
    if len(body) < _RT.size:
        raise BadInput(f"a route of {len(body)} bytes, its fixed part needs {_RT.size}")
    found = unpack_attributes(body, _RT.size)
    found.pop(RTA_CACHEINFO, None)  # the kernel's own book-keeping
    if RTA_NH_ID in found:
        found = {kind: value for kind, value in found.items() if kind not in _OF_NEXT_HOP}
    return found
