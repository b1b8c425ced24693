"""Identities of the kernel objects of which there are thousands. Pure.

They hold numbers, because an ``ipaddress`` object hashes in Python, ten times as slowly, and a comparison of
thousands of entries does little else than hash keys.
"""

from collections.abc import Hashable

from overlay.family import Address, Subnet

NO_MAC = "00:00:00:00:00:00"
"""Of an FDB entry: where what has no entry is flooded to."""


def route_key(dst: Subnet) -> Hashable:
    """Of a route in the main table."""
    return ("route", int(dst.network_address), dst.prefixlen, dst.version)


def neighbour_key(link: str, ip: Address) -> Hashable:
    """Of a neighbour on a link."""
    return ("neighbour", link, int(ip), ip.version)


def fdb_key(link: str, mac: str, underlay: Address | None) -> Hashable:
    """Of an FDB entry: a MAC that stands for many, or for all, may lead to several underlay addresses."""
    many = mac == NO_MAC or int(mac[:2] or "0", 16) & 1
    return ("fdb", link, mac, str(underlay)) if many else ("fdb", link, mac)


def home_key(link: str, underlay: Address) -> Hashable:
    """Of what an FDB entry says the other way round: who lives at this underlay address."""
    return ("home", link, int(underlay), underlay.version)
