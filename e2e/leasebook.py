"""What etcd says of leases and what a node's kernel does, compared without any code of the product.

Read with `etcdctl get --prefix` on one side, `ip` and `bridge` on the other: the soak's judge.
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import combinations
from typing import Any

from e2e.etcdserver import SUBNETS
from e2e.node import Node
from e2e.pods import Pod

DEVICE = "overlay.1"


@dataclass(frozen=True, slots=True)
class Row:
    """One record under P/subnets; fields that it lacks are empty."""

    key: str
    subnet: IPv4Network
    underlay: str
    mac: str
    node: str
    machine: str


def read(ctl: Callable[..., str]) -> list[Row]:
    """All records; ``ctl`` is etcdctl."""
    answer = json.loads(ctl("get", "--prefix", SUBNETS, "--write-out", "json"))
    return [
        _row(base64.b64decode(kv["key"]).decode(), base64.b64decode(kv.get("value", "")))
        for kv in answer.get("kvs", [])
    ]


def _row(key: str, text: bytes) -> Row:
    name = key.removeprefix(SUBNETS)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    value = found if isinstance(found, dict) else {}
    data = value.get("BackendData")
    mac = str(data.get("VtepMAC", "")) if isinstance(data, dict) else ""
    return Row(
        name,
        IPv4Network(name.partition("&")[0].replace("-", "/"), strict=False),
        str(value.get("PublicIP", "")),
        mac.lower(),
        str(value.get("Node", "")),
        str(value.get("MachineID", "")),
    )


def doubles(rows: Sequence[Row], nodes: Iterable[Node] = ()) -> list[str]:
    """Subnets that more than one has, in etcd or by what nodes give their pods; one sentence each."""
    found = [
        f"{one.key} of {one.underlay} overlaps {other.key} of {other.underlay}"
        for one, other in combinations(rows, 2)
        if one.subnet.overlaps(other.subnet)
    ]
    found += [
        f"{one.key} and {other.key} are both of {one.underlay}"
        for one, other in combinations(rows, 2)
        if one.underlay and one.underlay == other.underlay
    ]
    living = [(node, IPv4Network(node.subnet)) for node in nodes]
    found += [
        f"{one.name} and {other.name} both use {subnet}"
        for (one, subnet), (other, another) in combinations(living, 2)
        if subnet.overlaps(another)
    ]
    found += [
        f"{node.name} uses {subnet}, which is leased to {row.underlay}"
        for node, subnet in living
        for row in rows
        if row.subnet.overlaps(subnet) and row.underlay != node.address
    ]
    return found


def same_addresses(pods: Iterable[Pod]) -> list[str]:
    """Addresses that more than one pod has."""
    return [
        f"{one.name} and {other.name} both have {one.address}"
        for one, other in combinations(pods, 2)
        if one.address == other.address
    ]


def differences(node: Node, rows: Sequence[Row]) -> list[str]:
    """Where the kernel of a node and the records of the others differ; one line per entry."""
    others = [row for row in rows if row.underlay != node.address and row.mac]
    wanted = {
        "route": {f"{row.subnet} via {row.subnet.network_address}" for row in others},
        "fdb": {f"{row.mac} dst {row.underlay}" for row in others},
        "neighbour": {f"{row.subnet.network_address} lladdr {row.mac}" for row in others},
    }
    have = kernel(node)
    return [
        f"{node.name}: {kind} {entry} {'missing' if entry in wanted[kind] else 'without a lease'}"
        for kind in wanted
        for entry in sorted(wanted[kind] ^ have[kind])
    ]


def kernel(node: Node) -> dict[str, set[str]]:
    """The ways to others that a node's kernel has; none while it has no device, which may go at any moment."""
    fdb = _rows(node, "bridge", "-j", "fdb", "show")
    return {
        "route": {
            f"{row['dst']} via {row['gateway']}"
            for row in _rows(node, "ip", "-j", "-d", "route", "show")
            if "gateway" in row
        },
        "fdb": {f"{row['mac']} dst {row['dst']}" for row in fdb if "dst" in row},
        "neighbour": {
            f"{row['dst']} lladdr {row['lladdr']}"
            for row in _rows(node, "ip", "-j", "-d", "neigh", "show")
            if "PERMANENT" in row["state"]
        },
    }


def _rows(node: Node, *words: str) -> list[dict[str, Any]]:
    said = node.namespace.run([*words, "dev", DEVICE])
    found: list[dict[str, Any]] = json.loads(said.out or "[]") if said.code == 0 else []
    return [row for row in found if row]
