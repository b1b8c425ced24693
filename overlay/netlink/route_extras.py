"""What a route states beside its way: nothing of ours does, and it can send packets astray. Pure."""

from collections.abc import Mapping

from overlay.netlink import constants as c
from overlay.netlink.attributes import unpack_attributes, unpack_number

NO_WAY = {6: "a blackhole", 7: "unreachable", 8: "prohibited", 9: "a throw"}
"""Types of route that lead nowhere, linux/rtnetlink.h."""
_EXPIRES = slice(8, 12)
"""rta_expires in struct rta_cacheinfo, linux/rtnetlink.h."""
_WORDS = {
    c.RTA_MULTIPATH: "several next hops",
    c.RTA_VIA: "a gateway of another family",
    c.RTA_ENCAP_TYPE: "an encapsulation",
    c.RTA_NH_ID: "a next hop object",
}


def has_end(found: Mapping[int, bytes]) -> bool:
    """True for an IPv6 route that expires, or has: it leads nowhere then, and goes up to 30 s later (gc_interval)."""
    return any(found.get(c.RTA_CACHEINFO, b"")[_EXPIRES])


def extras(found: Mapping[int, bytes]) -> str:
    """In words, of a route's attributes; empty if there is nothing."""
    words = [word for kind, word in _WORDS.items() if kind in found]
    metrics = unpack_attributes(found.get(c.RTA_METRICS, b""), 0)
    if c.RTAX_MTU in metrics:
        words.append(f"mtu {unpack_number(metrics[c.RTAX_MTU])}")
    elif metrics:
        words.append("metrics")
    if has_end(found):
        words.append("an end")
    return ", ".join(words)
