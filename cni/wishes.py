"""What a pod asks for itself: addresses, a MAC, DNS. Pure.

Three places can say it, and the more specific one wins: runtimeConfig (a capability, filled in by the
runtime) over ``args.cni`` over CNI_ARGS (CNI CONVENTIONS.md). A wish is honoured or refused with the
reason, never dropped: a pod without the address it asked for is a trap.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cni.netconf import checked, is_object, is_texts, show
from cni.protocol import Request
from overlay.errors import BadConfig, BadEnvironment, OverlayError, Unsupported
from overlay.model import Address, Family
from overlay.nodefile import NodeFamily

_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}")
_HARDWARE = ("deviceid", "infinibandguid")
_CHAINED = ("portmappings", "bandwidth")
"""Served by plugins chained after us; only their form is looked at here."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """At most one address per family; ``left`` names what a plugin chained after us has to do."""

    addresses: Mapping[Family, Address] = field(default_factory=dict)
    mac: str = ""
    dns: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def read(request: Request, families: Iterable[NodeFamily]) -> Wishes:
    """The request's wishes, checked against the node's address families.

    Raises:
        BadConfig, BadEnvironment: a wish is malformed or contradicts another, or cannot be met here.
        Unsupported: hardware is asked for.
    """
    runtime = request.config.runtime
    for key in _HARDWARE:
        if runtime.get(key):
            raise Unsupported(f"runtimeConfig.{key} = {show(runtime[key])}: pods get a veth here")
    if not request.config.ipam.foreign:  # the plugin that is named there goes by them itself
        _check_ranges(runtime.get("ipranges"), families)
    return Wishes(
        addresses=_addresses(request, {item.family: item for item in families}),
        mac=_mac(request),
        dns={**request.config.dns, **_dns(runtime)},
        left=tuple(key for key in _CHAINED if _is_asked(runtime, key)),
    )


def _addresses(request: Request, node: Mapping[Family, NodeFamily]) -> Mapping[Family, Address]:
    source, texts = _first_stated(request)
    found: dict[Family, Address] = {}
    for text in dict.fromkeys(texts):  # podman repeats itself on a network reload
        address = _address(source, text, node)
        family = Family.of(address)
        if found.setdefault(family, address) != address:
            raise _refusal(
                source, f"{source} asks for {found[family]} and {address}: one per family"
            )
    return found


def _first_stated(request: Request) -> tuple[str, list[str]]:
    config = request.config
    for source, given in (("runtimeConfig", config.runtime), ("args.cni", config.args)):
        texts = checked(given, "ips", is_texts, "a list of addresses", within=f"{source}.")
        if texts:
            return f"{source}.ips", texts
    return "CNI_ARGS IP", [text for text in request.args.get("IP", "").split(",") if text]


def _address(source: str, text: str, node: Mapping[Family, NodeFamily]) -> Address:
    """With or without a prefix length; with one, it must be the subnet's or that of a single host."""
    try:
        stated = ipaddress.ip_interface(text)
    except ValueError as error:
        raise _refusal(source, f"{source} = {show(text)} is not an address") from error
    home = node.get(Family.of(stated))
    if home is None:
        raise _refusal(source, f"{source} = {text}: this node has no {_said(node)} subnet for it")
    if stated.ip not in home.subnet:
        raise _refusal(
            source,
            f"{source} = {text} is outside of this node's subnet {home.subnet}",
            "an address belongs to a node; leave it out, or start the pod on the node that has it",
        )
    lengths = (home.subnet.prefixlen, Family.of(stated).bits)
    if "/" in text and stated.network.prefixlen not in lengths:
        raise _refusal(source, f"{source} = {text}: the subnet is {home.subnet}")
    return stated.ip


def _said(node: Mapping[Family, NodeFamily]) -> str:
    return " or ".join(f"IPv{family.value}" for family in Family if family not in node)


def _refusal(source: str, message: str, hint: str = "") -> OverlayError:
    kind = BadEnvironment if source.startswith("CNI_ARGS") else BadConfig
    return kind(message, hint=hint or "leave it out; the node gives the pod a free address")


def _mac(request: Request) -> str:
    config = request.config
    stated = {
        "runtimeConfig.mac": config.runtime.get("mac"),
        "args.cni.mac": config.args.get("mac"),
        "CNI_ARGS MAC": request.args.get("MAC"),
    }
    source, value = next(((key, value) for key, value in stated.items() if value), ("", ""))
    if not source:
        return ""
    text = value.lower() if isinstance(value, str) else ""
    if not _MAC.fullmatch(text):
        raise _refusal(source, f"{source} = {show(value)} is not a MAC, such as 0a:58:0a:05:01:09")
    mac = text.replace("-", ":")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise _refusal(source, f"{source} = {mac} is no address of one interface (group or zero)")
    return mac


def _dns(runtime: Mapping[str, Any]) -> Mapping[str, Any]:
    """runtimeConfig.dns: Servers, Searches, Options in any case (go-cni has no JSON names)."""
    given = checked(runtime, "dns", is_object, "an object", within="runtimeConfig.") or {}
    folded = {key.lower(): value for key, value in given.items()}
    found: dict[str, Any] = {}
    for key, name in (("servers", "nameservers"), ("searches", "search"), ("options", "options")):
        if value := checked(folded, key, is_texts, "a list of text", within="runtimeConfig.dns."):
            found[name] = value
    return found


def _is_asked(runtime: Mapping[str, Any], key: str) -> bool:
    kind, wanted = (list, "a list") if key == "portmappings" else (dict, "an object")
    return bool(
        checked(
            runtime, key, lambda value: isinstance(value, kind), wanted, within="runtimeConfig."
        )
    )


def _check_ranges(ranges: object, families: Iterable[NodeFamily]) -> None:
    """ipRanges are host-local's. We give any address of the node's subnet, so all of it has to be in there."""
    if not ranges:
        return
    subnets = {item.family: item.subnet for item in families}
    try:
        named = [
            ipaddress.ip_network(
                next(item[key] for key in item if key.lower() == "subnet"), strict=False
            )
            for group in _list(ranges)
            for item in _list(group)
        ]
    except (ValueError, TypeError, AttributeError, StopIteration) as error:
        raise BadConfig(
            f"runtimeConfig.ipRanges is {show(ranges)}, it must be lists of subnets"
        ) from error
    for subnet in named:
        home = subnets.get(Family.of(subnet))
        if home is None or not (home.version == subnet.version and home.subnet_of(subnet)):  # type: ignore[arg-type]
            raise BadConfig(
                f"runtimeConfig.ipRanges has {subnet}, this node gives addresses of all of {home}"
            )


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value
