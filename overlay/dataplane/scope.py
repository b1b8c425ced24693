"""Which scope a peer's IPv4 route is given: a number that changes nothing for a packet, and much for the kernel. Pure.

For each route with a gateway the kernel looks for an equal next hop, by a hash that has neither destination nor gateway
in it (`fib_info_hashfn`): all of one device fall together, so each costs more than the one before. The scope is in that
hash. From 0 (global) to 252 it says nothing else of a route with a gateway: a lookup asks for 0 or for 253 (link), and
what makes two routes the same to the kernel is destination, TOS and metric. So one of any scope replaces, deletes or
refuses one of any other (docs/decisions/012-scopes.md).

It follows from the destination alone, and is no part of what is compared: a route of another scope leads the same way.
"""

from overlay.model import Address, Family, Subnet
from overlay.netlink.constants import RT_SCOPE_UNIVERSE

SCOPES = 128
"""Below 200, the lowest that has a name (site; iproute2's rt_scopes). More gain next to nothing."""
_V4 = Family.V4.value


def scope_to(dst: Subnet, via: Address | None) -> int:
    """Of a route to a subnet by way of a gateway: the last bits of the subnet's number, 7 for 10.244.7.0/24.

    IPv6 has no such hash, and no scopes; what has no gateway is the kernel's, or not ours.
    """
    if via is None or dst.version != _V4:
        return RT_SCOPE_UNIVERSE
    return (int(dst.network_address) >> (dst.max_prefixlen - dst.prefixlen)) % SCOPES
