"""Identities of the kernel objects of which there are thousands. Pure.

They hold numbers, because an ``ipaddress`` object hashes in Python, ten times as slowly, and a comparison of
thousands of entries does little else than hash keys.
"""

from collections.abc import Hashable

from overlay.family import Address, Subnet


def route_key(dst: Subnet) -> Hashable:
    """Of a route in the main table."""
    return ("route", int(dst.network_address), dst.prefixlen, dst.version)


def neighbour_key(link: str, ip: Address) -> Hashable:
    """Of a neighbour on a link."""
    return ("neighbour", link, int(ip), ip.version)


def home_key(link: str, underlay: Address) -> Hashable:
    """Of what an FDB entry says the other way round: who lives at this underlay address."""
    return ("home", link, int(underlay), underlay.version)
