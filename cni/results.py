"""What the plugin says: results, errors and versions as the JSON of each CNI version. Pure.

Shapes by version (CNI specification 1.1.0, section 5, and its predecessors):
0.1.0 and 0.2.0 have ``ip4`` and ``ip6``; 0.3.0 to 0.4.0 have ``interfaces`` and ``ips`` with
``version``; 1.0.0 drops ``version``; 1.1.0 adds ``mtu`` to interfaces and more to routes.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cni.netconf import VERSIONS
from cni.previous import Previous
from overlay.errors import OverlayError
from overlay.model import Address, Family, HostAddress, Subnet

INTERNAL_ERROR = 999
"""The code that the specification's own reference code uses for what should never happen."""
_SINCE_1_1 = ("mtu", "socketPath", "pciID", "advmss", "priority", "table", "scope")
_SWALLOWED = (
    (re.compile("not found", re.IGNORECASE), "absent"),
    (re.compile("no such file or directory", re.IGNORECASE), "it does not exist"),
)
"""Runtimes take a failed DEL that says so for a success (go-cni's Remove, multus)."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A link that ADD made or used. ``sandbox`` is the netns path, empty on the host."""

    name: str
    mac: str
    mtu: int
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class PodAddress:
    """An address of the pod, its gateway, and its link's position in the result's interfaces.

    ``interface`` is None where we are asked for addresses alone.
    """

    address: HostAddress
    gateway: Address | None
    interface: int | None = None

    @property
    def family(self) -> Family:
        """The address family."""
        return Family.of(self.address)


@dataclass(frozen=True, slots=True)
class PodRoute:
    """A route inside the pod."""

    dst: Subnet
    via: Address | None


@dataclass(frozen=True, slots=True)
class Result:
    """What ADD did, after what plugins before us did."""

    interfaces: tuple[Interface, ...]
    addresses: tuple[PodAddress, ...]
    routes: tuple[PodRoute, ...] = ()
    dns: Mapping[str, Any] = field(default_factory=dict)
    before: Previous = field(default_factory=Previous)
    bare: bool = False
    """True for an IPAM plugin's answer, which has no interfaces (specification, "Delegated plugins")."""


def encode_result(result: Result, version: str) -> bytes:
    """``result`` as JSON of CNI ``version``, one of netconf.VERSIONS."""
    before, shift = result.before, len(result.before.interfaces)
    interfaces = [*before.interfaces, *(_interface(item) for item in result.interfaces)]
    ips = [*before.ips, *(_ip(item, shift) for item in result.addresses)]
    routes = [*before.routes, *(_route(item) for item in result.routes)]
    body: dict[str, Any] = {**before.more, "cniVersion": version}
    if version in ("0.1.0", "0.2.0"):
        body |= _before_0_3(ips, routes)
    else:
        body |= {} if result.bare else {"interfaces": _aged(interfaces, version)}
        body |= {"ips": [_dated(item, version) for item in ips], "routes": _aged(routes, version)}
    return _line({**body, "dns": {**before.dns, **result.dns}})


def encode_error(error: OverlayError, version: str, *, verb: str = "") -> bytes:
    """An error as JSON; runtimes show ``msg; details``, so the hint goes into the details."""
    texts = {"msg": str(error), **({"details": error.hint} if error.hint else {})}
    said = {key: _sayable(text) for key, text in texts.items()}
    if verb == "DEL":
        said = {key: _outspoken(text) for key, text in said.items()}
    return _line({"cniVersion": version, "code": error.cni_code, **said})


def encode_internal_error(error: Exception, version: str) -> bytes:
    """What nobody foresaw: the type and text; the traceback belongs on stderr."""
    text = f"{type(error).__name__}: {error}"
    details = "this is a fault of overlay; see: journalctl -u overlay-agent"
    return _line(
        {
            "cniVersion": version,
            "code": INTERNAL_ERROR,
            "msg": _outspoken(_sayable(text[:1000])),
            "details": details,
        }
    )


def encode_versions(version: str) -> bytes:
    """The answer to VERSION, in the input's own ``version``."""
    return _line({"cniVersion": version, "supportedVersions": list(VERSIONS)})


def _sayable(text: str) -> str:
    """Bytes that are no text come out of the environment as lone surrogates, which JSON cannot hold."""
    return text.encode(errors="backslashreplace").decode()


def _outspoken(text: str) -> str:
    """The same without the words that make a runtime swallow an error."""
    for words, ours in _SWALLOWED:
        text = words.sub(ours, text)
    return text


def _before_0_3(
    ips: Iterable[Mapping[str, Any]], routes: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """One address per family is all that these versions can say."""
    body: dict[str, Any] = {}
    for item in ips:
        family = ipaddress.ip_interface(item["address"]).version
        own = [item for item in routes if _version(item["dst"]) == family]
        ip = {"ip": item["address"], "gateway": item.get("gateway"), "routes": _aged(own, "0.2.0")}
        stated = {key: value for key, value in ip.items() if value is not None}
        body.setdefault(f"ip{family}", stated)
    return body


def _version(destination: str) -> int:
    """4 or 6; another plugin's destination may have host bits set."""
    return ipaddress.ip_network(destination, strict=False).version


def _interface(item: Interface) -> dict[str, Any]:
    return {"name": item.name, "mac": item.mac, "mtu": item.mtu, "sandbox": item.sandbox}


def _ip(item: PodAddress, shift: int) -> dict[str, Any]:
    body: dict[str, Any] = {"address": str(item.address)}
    if item.gateway is not None:
        body["gateway"] = str(item.gateway)
    if item.interface is not None:
        body["interface"] = item.interface + shift
    return body


def _route(item: PodRoute) -> dict[str, str]:
    gateway = {} if item.via is None else {"gw": str(item.via)}
    return {"dst": str(item.dst), **gateway}


def _aged(items: Iterable[Mapping[str, Any]], version: str) -> list[Mapping[str, Any]]:
    """Without what only 1.1.0 knows."""
    if version == "1.1.0":
        return list(items)
    return [{key: item[key] for key in item if key not in _SINCE_1_1} for item in items]


def _dated(item: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    if not version.startswith("0."):
        return item
    return {"version": str(ipaddress.ip_interface(item["address"]).version), **item}


def _line(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body) + b"\n"
    except UnicodeEncodeError:  # bytes that are no text (a file's name, say): escaped, never an end
        return json.dumps(body).encode() + b"\n"
