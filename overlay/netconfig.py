"""The network config at ``P/config``: flannel's JSON ↔ model.Network, with its every rule and default.

Source: flannel v0.28, pkg/subnet/config.go (CheckNetworkConfig) and pkg/backend/vxlan. Two of its traps
are errors here: SubnetMin above SubnetMax (flannel: "out of subnets" later), and a missing Backend
(flannel means the obsolete "udp").
"""

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from overlay.errors import BadConfig
from overlay.model import DEFAULT_VXLAN_PORT, Backend, Family, Network, Pool, Subnet

EXAMPLE = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
MOST_BYTES = 64 << 10
USUAL_LEN = {Family.V4: 24, Family.V6: 64}
LONGEST_LEN = {Family.V4: 30, Family.V6: 126}
_ENABLED = {Family.V4: True, Family.V6: False}
"""EnableIPv4 and EnableIPv6 where they are left out."""
_FIELDS = {
    Family.V4: ("network", "subnetlen", "subnetmin", "subnetmax"),
    Family.V6: ("ipv6network", "ipv6subnetlen", "ipv6subnetmin", "ipv6subnetmax"),
}
_SPELLED = {
    "network": "Network",
    "subnetlen": "SubnetLen",
    "subnetmin": "SubnetMin",
    "subnetmax": "SubnetMax",
    "ipv6network": "IPv6Network",
    "ipv6subnetlen": "IPv6SubnetLen",
    "ipv6subnetmin": "IPv6SubnetMin",
    "ipv6subnetmax": "IPv6SubnetMax",
}
_SERVED = ("vxlan", "host-gw")
_ENCRYPTED = "vxlan with iface naming an encrypted link, such as wg0, that joins the nodes"
_DIRECT = 'vxlan, with "DirectRouting":true where nodes share a link'
_NOT_SERVED = {
    "udp": "vxlan",
    "wireguard": _ENCRYPTED,
    "ipip": _DIRECT,
    "ipsec": _ENCRYPTED,
    "extension": "vxlan",
    "alloc": _DIRECT,
    "aws-vpc": _DIRECT,
    "gce": _DIRECT,
    "ali-vpc": _DIRECT,
    "tencent-vpc": _DIRECT,
}


def parse_network(raw: bytes) -> Network:
    """The config, checked whole.

    Raises:
        BadConfig: field, value and reason.
    """
    if len(raw) > MOST_BYTES:
        raise BadConfig(f"network config has {len(raw)} bytes, more than {MOST_BYTES}")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadConfig(
            f"network config is not JSON: {error}", hint=f"an example: {EXAMPLE}"
        ) from error
    if not isinstance(found, dict):
        raise BadConfig(f"network config is not a JSON object; an example: {EXAMPLE}")
    fields = {str(key).lower(): value for key, value in found.items()}
    enabled = {
        family: _boolean(fields, f"enableip{family.name.lower()}", default=by_default)
        for family, by_default in _ENABLED.items()
    }
    pools = tuple(_pool(fields, family) for family in Family if enabled[family])
    if not pools:
        raise BadConfig("EnableIPv4 and EnableIPv6 are both false: the network has no addresses")
    return Network(pools, _backend(fields.get("backend")))


def format_network(
    networks: Mapping[Family, str],
    subnet_lens: Mapping[Family, int],
    *,
    vni: int = 1,
    port: int = DEFAULT_VXLAN_PORT,
    kind: str = "vxlan",
    direct_routing: bool = False,
) -> str:
    """The shortest config that says this; `parse_network` judges the values."""
    fields: dict[str, Any] = {}
    for family in Family:
        name, name_len, *_ = _FIELDS[family]
        if (family in networks) != _ENABLED[family]:
            fields[f"EnableIP{family.name.lower()}"] = family in networks
        if family in networks:
            fields[_SPELLED[name]] = networks[family]
        if family in subnet_lens:
            fields[_SPELLED[name_len]] = subnet_lens[family]
    backend: dict[str, Any] = {"Type": kind}
    if vni != 1:
        backend["VNI"] = vni
    if port != DEFAULT_VXLAN_PORT:
        backend["Port"] = port
    if direct_routing:
        backend["DirectRouting"] = True
    return json.dumps({**fields, "Backend": backend}, separators=(",", ":"))


def count(pool: Pool) -> int:
    """How many subnets a pool has."""
    return index(pool, pool.last) + 1


def nth(pool: Pool, number: int) -> Subnet:
    """A pool's subnet by its number, 0 first."""
    size = 1 << (pool.family.bits - pool.subnet_len)
    start = pool.first.network_address + number * size
    return ip_network(f"{start}/{pool.subnet_len}")


def index(pool: Pool, subnet: Subnet) -> int:
    """The reverse of ``nth``."""
    size = 1 << (pool.family.bits - pool.subnet_len)
    return (int(subnet.network_address) - int(pool.first.network_address)) // size


def fits(pool: Pool, subnet: Subnet) -> bool:
    """True if the subnet is one of the pool's."""
    return (
        Family.of(subnet) is pool.family
        and subnet.prefixlen == pool.subnet_len
        and int(pool.first.network_address)
        <= int(subnet.network_address)
        <= int(pool.last.network_address)
    )


def subnets(pool: Pool) -> Iterator[Subnet]:
    """All of a pool, lazily."""
    return (nth(pool, number) for number in range(count(pool)))


def _pool(fields: dict[str, Any], family: Family) -> Pool:
    name, name_len, name_min, name_max = _FIELDS[family]
    network = _network(fields, name)
    if Family.of(network) is not family:
        raise _bad(fields, name, f"not an IP{family.name.lower()} network")
    near = family is Family.V6 and network.is_link_local
    if not network.prefixlen or near or network.is_loopback or network.is_multicast:
        raise _bad(fields, name, "not a range that pods can have addresses of")
    length = _length(fields, name_len, network, family)
    size = 1 << (family.bits - length)
    # flannel skips the first subnet: its network address is that of the whole network.
    first, last = int(network.network_address) + size, int(network.broadcast_address) + 1 - size
    low = _edge(fields, name_min, network, size, default=first)
    high = _edge(fields, name_max, network, size, default=last)
    if low > high:
        raise _bad(
            fields,
            name_min,
            f"above {_SPELLED[name_max]} = {ip_address(high) if family is Family.V4 else high}",
        )
    base = type(network.network_address)
    return Pool(network, length, ip_network((base(low), length)), ip_network((base(high), length)))


def _network(fields: dict[str, Any], name: str) -> Subnet:
    value = fields.get(name)
    if value in (None, ""):
        raise BadConfig(f"{_SPELLED[name]} is missing; an example: {EXAMPLE}")
    try:
        if not isinstance(value, str) or "/" not in value:
            raise ValueError("not <address>/<length>")
        return ip_network(value, strict=False)  # flannel masks the host bits too
    except ValueError as error:
        raise _bad(fields, name, str(error)) from error


def _length(fields: dict[str, Any], name: str, network: Subnet, family: Family) -> int:
    longest, usual = LONGEST_LEN[family], USUAL_LEN[family]
    if network.prefixlen > longest - 2:
        raise BadConfig(
            f"{_SPELLED[_FIELDS[family][0]]} = {network}: longer than /{longest - 2}, no room for subnets"
        )
    value = fields.get(name)
    if value in (None, 0):
        return usual if network.prefixlen <= usual - 2 else network.prefixlen + 2
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= longest:
        raise _bad(fields, name, f"not a prefix length up to {longest}")
    if value < network.prefixlen + 2:
        raise _bad(fields, name, f"{network} would have fewer than four subnets of that size")
    return value


def _edge(fields: dict[str, Any], name: str, network: Subnet, size: int, *, default: int) -> int:
    value = fields.get(name)
    if value in (None, ""):
        return default
    try:
        address = ip_address(value if isinstance(value, str) else "")
    except ValueError as error:
        raise _bad(fields, name, "not an address") from error
    if address not in network:
        raise _bad(fields, name, f"outside of {network}")
    if int(address) % size:
        raise _bad(fields, name, f"not at the start of a subnet of {size} addresses")
    return int(address)


def _backend(value: object) -> Backend:
    if value is None:
        raise BadConfig(
            'Backend is missing (flannel would take the obsolete "udp" then)',
            hint='write "Backend":{"Type":"vxlan"}',
        )
    if not isinstance(value, dict):
        raise BadConfig(f"Backend = {value!r}: not an object")
    fields = {str(key).lower(): item for key, item in value.items()}
    kind = fields.get("type", "")
    if not isinstance(kind, str) or kind.lower() not in _SERVED:
        use = _NOT_SERVED.get(str(kind).lower(), "vxlan or host-gw")
        raise BadConfig(
            f"Backend.Type = {kind!r} is not served; use {use}",
            hint='write "Backend":{"Type":"vxlan"}',
        )
    if kind.lower() == "host-gw":  # whatever else is said is about a tunnel
        return Backend(kind="host-gw", mtu=_number(fields, "MTU", default=0, low=0, high=65535))
    return Backend(
        kind="vxlan",
        vni=_number(fields, "VNI", default=1, low=1, high=(1 << 24) - 1),
        port=_number(fields, "Port", default=0, low=0, high=65535) or DEFAULT_VXLAN_PORT,
        mtu=_number(fields, "MTU", default=0, low=0, high=65535),
        direct_routing=_boolean(fields, "directrouting", default=False),
        learning=_boolean(fields, "learning", default=False),
        gbp=_boolean(fields, "gbp", default=False),
    )


def _number(fields: dict[str, Any], name: str, *, default: int, low: int, high: int) -> int:
    value = fields.get(name.lower(), default)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadConfig(f"Backend.{name} = {value!r}: not a number from {low} to {high}")
    return value


def _boolean(fields: dict[str, Any], name: str, *, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadConfig(f"{name} = {value!r}: neither true nor false")
    return value


def _bad(fields: dict[str, Any], name: str, why: str) -> BadConfig:
    return BadConfig(f"{_SPELLED[name]} = {fields.get(name)!r}: {why}")
