"""flannel's lease records: etcd keys and JSON ↔ model. Pure.

Source of the format: flannel v0.28, pkg/subnet/subnet.go and pkg/lease/lease.go. A key is
``<a.b.c.d>-<len>`` or, dual stack, ``<v4>-<len>&<v6>-<len>``; the value is Go's JSON of LeaseAttrs,
whose field order and spelling we keep byte for byte. Our own fields (Node, MachineID, AgentVersion, and
Challenge while the holder is asked whether it lives) follow; flannel ignores what it does not know. An
IPv6-only key, which flannel has not, is ``<v6>-<len>``.

Reading is tolerant (Go's case-insensitive keys, absent fields, foreign backends) and bounded; what
cannot be read is a BadRecord with the reason.
"""

import contextlib
import json
import re
import sys
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network
from typing import Any

import msgspec

from overlay.errors import BadRecord
from overlay.model import Address, Endpoint, Family, Lease, Subnet

MOST_BYTES = 64 << 10
MOST_TEXT = 253
UNSPECIFIED = "0.0.0.0"

_KEY = re.compile(
    r"(?:(?P<v4>\d{1,3}(?:\.\d{1,3}){3})-(?P<len4>\d{1,2}))?(?P<and>&)?(?:(?P<v6>[0-9a-f:]{2,39})-(?P<len6>\d{1,3}))?"
)
_DECODER = msgspec.json.Decoder()
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def parse_key(key: str) -> tuple[Subnet, ...]:
    """The subnets a key stands for, IPv4 first.

    Raises:
        BadRecord: not a key of the schema.
    """
    match = _KEY.fullmatch(key) if key else None
    if not match or (match["and"] is not None) != (
        match["v4"] is not None and match["v6"] is not None
    ):
        raise BadRecord(f"key {key[:80]!r} is not <address>-<len>")
    try:
        return tuple(
            _subnet(match[address], match[length])
            for address, length in (("v4", "len4"), ("v6", "len6"))
            if match[address] is not None
        )
    except ValueError as error:
        raise BadRecord(f"key {key[:80]!r}: {error}") from error


def format_key(subnets: Sequence[Subnet]) -> str:
    """The reverse of ``parse_key``."""
    return "&".join(
        f"{net.network_address}-{net.prefixlen}"
        for net in sorted(subnets, key=lambda net: net.version)
    )


def parse_lease(
    key: str, value: bytes, *, etcd_lease: int = 0, create_revision: int = 0, mod_revision: int = 0
) -> Lease:
    """One record, validated whole.

    Raises:
        BadRecord: key or value cannot be read; the text says which field.
    """
    subnets = parse_key(key)
    fields = _object(value)
    # Thousands of records say the same; what differs in each would only swell the table of such texts.
    backend = sys.intern(_text(fields, "backendtype"))
    return Lease(
        key=key,
        endpoints=tuple(_endpoint(net, fields, backend) for net in subnets),
        backend=backend,
        node=_text(fields, "node"),
        machine_id=_text(fields, "machineid"),
        version=sys.intern(_text(fields, "agentversion")),
        challenge=_text(fields, "challenge"),
        etcd_lease=etcd_lease,
        create_revision=create_revision,
        mod_revision=mod_revision,
    )


def format_lease(lease: Lease) -> bytes:
    """The value as flannel's json.Marshal writes it, then our own fields."""
    v4, v6 = lease.endpoint(Family.V4), lease.endpoint(Family.V6)
    fields: dict[str, Any] = {
        "PublicIP": str(v4.underlay) if v4 and v4.underlay else UNSPECIFIED,
        "PublicIPv6": str(v6.underlay) if v6 and v6.underlay else None,
    }
    if lease.backend:
        fields["BackendType"] = lease.backend
    for name, end in (("BackendData", v4), ("BackendV6Data", v6)):
        if end is not None and end.mac is not None:
            fields[name] = {"VNI": end.vni if end.vni is not None else 1, "VtepMAC": end.mac}
    for name, text in (
        ("Node", lease.node),
        ("MachineID", lease.machine_id),
        ("AgentVersion", lease.version),
        ("Challenge", lease.challenge),
    ):
        if text:
            fields[name] = text
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode()


def _subnet(address: str, length: str) -> Subnet:
    if ":" not in address and length.isascii():
        with contextlib.suppress(ValueError):  # a third of the time; what is wrong is said below
            return IPv4Network((address, int(length)))
    return ip_network(f"{address}/{length}")


def _object(value: bytes) -> dict[str, Any]:
    """The top object with lower-cased keys; of keys that differ only in case the last wins, as in Go."""
    if len(value) > MOST_BYTES:
        raise BadRecord(f"value has {len(value)} bytes, more than {MOST_BYTES}")
    try:
        found = _DECODER.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        found = _tolerant(value)
    if not isinstance(found, dict):
        raise BadRecord(f"value is a JSON {type(found).__name__}, not an object")
    return {str(name).lower(): item for name, item in found.items()}


def _tolerant(value: bytes) -> object:
    """What Python's own reader takes, which is slower, and takes more (NaN, UTF-16); it says what is wrong."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"value is not JSON: {error}") from error


def _endpoint(subnet: Subnet, fields: dict[str, Any], backend: str) -> Endpoint:
    family = Family.of(subnet)
    name, data_name = (
        ("publicip", "backenddata") if family is Family.V4 else ("publicipv6", "backendv6data")
    )
    underlay = _underlay(fields.get(name), name, family)
    data = fields.get(data_name)
    if backend != "vxlan" or data is None:
        return Endpoint(subnet, underlay)
    if not isinstance(data, dict):
        raise BadRecord(f"{data_name} is a JSON {type(data).__name__}, not an object")
    inner = {str(key).lower(): item for key, item in data.items()}
    return Endpoint(subnet, underlay, _mac(inner.get("vtepmac")), _vni(inner.get("vni")))


def _underlay(value: object, name: str, family: Family) -> Address | None:
    if value is None or value == UNSPECIFIED:
        return None
    try:
        address = ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None or Family.of(address) is not family:
        raise BadRecord(f"{name} = {_short(value)} is not an {family.name} address")
    scoped = isinstance(address, IPv6Address) and address.scope_id is not None
    if scoped or address.is_multicast or address.is_loopback or address.is_unspecified:
        raise BadRecord(f"{name} = {_short(value)} cannot be a node's address")
    return address


def _mac(value: object) -> str | None:
    if value is None or value == "":
        return None
    text = value.lower().replace("-", ":") if isinstance(value, str) else ""
    if not _MAC.fullmatch(text):
        raise BadRecord(f"VtepMAC = {_short(value)} is not a MAC address")
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise BadRecord(f"VtepMAC = {_short(value)} is not a unicast address")
    return text


def _vni(value: object) -> int | None:
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 24
        else None
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_TEXT or not value.isprintable():
        raise BadRecord(f"{name} = {_short(value)} is not a short printable text")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
