"""What the plugin says: results, errors and versions as the JSON of each CNI version. Pure.

Shapes by version (CNI specification 1.1.0, section 5, and its predecessors):
0.1.0 and 0.2.0 have ``ip4`` and ``ip6``; 0.3.0 to 0.4.0 have ``interfaces`` and ``ips`` with
``version``; 1.0.0 drops ``version``; 1.1.0 adds ``mtu`` to interfaces.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cni.protocol import VERSIONS
from overlay.errors import OverlayError
from overlay.model import Address, Family, HostAddress

INTERNAL_ERROR = 999
"""The code that the specification's own reference code uses for what should never happen."""
_EVERYWHERE = {
    Family.V4: ipaddress.ip_network("0.0.0.0/0"),
    Family.V6: ipaddress.ip_network("::/0"),
}


@dataclass(frozen=True, slots=True)
class Interface:
    """A link that ADD made or used. ``sandbox`` is the netns path, empty on the host."""

    name: str
    mac: str
    mtu: int
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class PodAddress:
    """An address of the pod, its gateway, and its link's position in the result's interfaces."""

    address: HostAddress
    gateway: Address
    interface: int

    @property
    def family(self) -> Family:
        """The address family."""
        return Family.of(self.address)


@dataclass(frozen=True, slots=True)
class Result:
    """What ADD did. Every address brings a default route by its gateway."""

    interfaces: tuple[Interface, ...]
    addresses: tuple[PodAddress, ...]
    dns: Mapping[str, Any] = field(default_factory=dict)


def encode_result(result: Result, version: str) -> bytes:
    """``result`` as JSON of CNI ``version``, one of protocol.VERSIONS."""
    form = _before_0_3 if version in ("0.1.0", "0.2.0") else _since_0_3
    return _line({"cniVersion": version, **form(result, version), "dns": dict(result.dns)})


def encode_error(error: OverlayError, version: str, *, code: int | None = None) -> bytes:
    """An error as JSON; runtimes show ``msg; details``, so the hint goes into the details.

    ``code`` replaces the error's own where a verb has codes of its own.
    """
    number = error.cni_code if code is None else code
    body = {"cniVersion": version, "code": number, "msg": str(error)}
    return _line({**body, "details": error.hint} if error.hint else body)


def encode_internal_error(error: Exception, version: str) -> bytes:
    """What nobody foresaw: the type and text; the traceback belongs on stderr."""
    text = f"{type(error).__name__}: {error}"
    details = "this is a fault of overlay; see: journalctl -u overlay-agent"
    return _line(
        {"cniVersion": version, "code": INTERNAL_ERROR, "msg": text[:1000], "details": details}
    )


def encode_versions(version: str) -> bytes:
    """The answer to VERSION, in the input's own ``version``."""
    return _line({"cniVersion": version, "supportedVersions": list(VERSIONS)})


def _since_0_3(result: Result, version: str) -> dict[str, Any]:
    return {
        "interfaces": [_interface(item, version) for item in result.interfaces],
        "ips": [_ip(item, version) for item in result.addresses],
        "routes": [_route(item) for item in result.addresses],
    }


def _before_0_3(result: Result, _version: str) -> dict[str, Any]:
    """One address per family is all that these versions can say."""
    body: dict[str, Any] = {}
    for item in result.addresses:
        ip = {"ip": str(item.address), "gateway": str(item.gateway), "routes": [_route(item)]}
        body.setdefault(f"ip{item.family.value}", ip)
    return body


def _interface(item: Interface, version: str) -> dict[str, Any]:
    body: dict[str, Any] = {"name": item.name, "mac": item.mac, "sandbox": item.sandbox}
    return {**body, "mtu": item.mtu} if version == "1.1.0" else body


def _ip(item: PodAddress, version: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "address": str(item.address),
        "gateway": str(item.gateway),
        "interface": item.interface,
    }
    return {"version": str(item.family.value), **body} if version.startswith("0.") else body


def _route(item: PodAddress) -> dict[str, str]:
    return {"dst": str(_EVERYWHERE[item.family]), "gw": str(item.gateway)}


def _line(body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(body) + b"\n"
