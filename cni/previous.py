"""A result that another plugin printed, of any CNI version, in the form of the newest. Pure.

Used for prevResult, which is passed on as it came (what we do not know included), and for what an IPAM plugin
answers. Interfaces, addresses and routes stay JSON objects in the form of CNI 1.1.0; `results` puts them
into the form of the version asked for.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cni.netconf import UNSTATED_VERSION, VERSIONS, checked, is_object, show
from overlay.errors import BadConfig
from overlay.model import HostAddress

_OLDEST = ("0.1.0", "0.2.0")
_KNOWN = frozenset({"cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6"})


@dataclass(frozen=True, slots=True)
class Previous:
    """Interfaces, ips, routes and dns as JSON objects; every address in ``ips`` parses.

    ``more`` is what no version of the specification knows.
    """

    interfaces: tuple[Mapping[str, Any], ...] = ()
    ips: tuple[Mapping[str, Any], ...] = ()
    routes: tuple[Mapping[str, Any], ...] = ()
    dns: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def interface(self, name: str, sandbox: str) -> int | None:
        """The position of an interface inside a pod, or None. One without a sandbox is the host's."""
        for place, item in enumerate(self.interfaces):
            if item.get("name") == name and item.get("sandbox") == sandbox:
                return place
        return None

    def addresses_of(self, place: int | None) -> tuple[HostAddress, ...]:
        """The addresses of an interface; one that names none belongs to all."""
        return tuple(
            ipaddress.ip_interface(item["address"])
            for item in self.ips
            if item.get("interface") in (place, None)
        )

    @property
    def destinations(self) -> frozenset[str]:
        """The destinations of its routes."""
        return frozenset(str(item.get("dst")) for item in self.routes)


def read(
    given: Mapping[str, Any], *, unstated: str = UNSTATED_VERSION, whose: str = "prevResult"
) -> Previous:
    """``given`` by the version that it states itself, or ``unstated``: that of the configuration it came with.

    Raises:
        BadConfig: it is no result; ``whose`` and the key are named.
    """
    version = given.get("cniVersion") or unstated
    if version not in VERSIONS:
        raise BadConfig(f"{whose}.cniVersion is {show(version)}, we speak {', '.join(VERSIONS)}")
    dns = checked(given, "dns", is_object, "an object", within=f"{whose}.") or {}
    if version in _OLDEST:
        return _of_the_oldest(given, dns, whose)
    interfaces = _objects(given, "interfaces", whose)
    ips = tuple(_ip(item, len(interfaces), whose) for item in _objects(given, "ips", whose))
    routes = _objects(given, "routes", whose)
    for item in routes:
        _check_route(item, whose)
    return Previous(interfaces, ips, routes, dns, _more(given))


def _of_the_oldest(given: Mapping[str, Any], dns: Mapping[str, Any], whose: str) -> Previous:
    """``ip4`` and ``ip6``, each with its own routes and no interfaces."""
    ips: list[Mapping[str, Any]] = []
    routes: list[Mapping[str, Any]] = []
    for key in ("ip4", "ip6"):
        item = checked(given, key, is_object, "an object", within=f"{whose}.")
        if item:
            ips.append(
                _ip(
                    {"address": item.get("ip"), "gateway": item.get("gateway")}, 0, f"{whose}.{key}"
                )
            )
            routes += _objects(item, "routes", f"{whose}.{key}")
    for route in routes:
        _check_route(route, whose)
    return Previous((), tuple(ips), tuple(routes), dns, _more(given))


def _more(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in given.items() if key not in _KNOWN}


def _objects(given: Mapping[str, Any], key: str, whose: str) -> tuple[Mapping[str, Any], ...]:
    items = checked(given, key, lambda value: isinstance(value, list), "a list", within=f"{whose}.")
    for item in items or []:
        if not is_object(item):
            raise BadConfig(f"{whose}.{key} has {show(item)}, it must hold objects")
    return tuple(items or ())


def _ip(item: Mapping[str, Any], interfaces: int, whose: str) -> Mapping[str, Any]:
    try:
        ipaddress.ip_interface(_text(item.get("address")))
        if item.get("gateway") is not None:
            ipaddress.ip_address(_text(item["gateway"]))
    except ValueError as error:
        raise BadConfig(f"{whose}.ips has {show(item)}, which is no address") from error
    place = item.get("interface")
    if place is not None and not (type(place) is int and 0 <= place < interfaces):
        raise BadConfig(f"{whose}.ips names interface {show(place)} of {interfaces}")
    return {key: value for key, value in item.items() if key != "version" and value is not None}


def _check_route(route: Mapping[str, Any], whose: str) -> None:
    dst, gateway = route.get("dst"), route.get("gw")
    try:
        ipaddress.ip_network(_text(dst), strict=False)
    except ValueError as error:
        raise BadConfig(f"{whose}.routes has dst {show(dst)}, which is no network") from error
    try:
        if gateway is not None:
            ipaddress.ip_address(_text(gateway))
    except ValueError as error:
        raise BadConfig(f"{whose}.routes has gw {show(gateway)}, which is no address") from error


def _text(value: object) -> str:
    """A number would be an address, too, for Python."""
    if not isinstance(value, str):
        raise ValueError("not text")
    return value
