"""What etcd says of one node, and whether that is true of its device. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.why.ends import RESTART
from agent.why.facts import Facts
from agent.why.hop import Hop, Place
from overlay.model import ROUTE_PROTOCOL


@dataclass(frozen=True, slots=True)
class Record:
    """A lease of one family. ``left_s`` is None where it never ends; ``rival``: who contradicts it, in words."""

    key: str
    node: str
    subnet: str
    underlay: str = ""
    mac: str = ""
    vni: int = 0
    backend: str = "vxlan"
    left_s: float | None = None
    rival: str = ""


@dataclass(frozen=True, slots=True)
class Net:
    """The network config, as far as it matters here; ``protocol`` of our routes."""

    tunnels: bool = True
    direct: bool = False
    vni: int = 1
    port: int = 8472
    protocol: int = ROUTE_PROTOCOL


@dataclass(frozen=True, slots=True)
class Store:
    """etcd's side: ``fault`` where it does not answer; a record is None where there is none."""

    fault: str = ""
    net: Net | None = None
    near: Record | None = None
    far: Record | None = None


def of_peer(
    record: Record | None, store: Store, address: str, *, back: bool = False
) -> Iterator[Hop]:
    """Does a record lead to an address at all? Everything on the other nodes follows from it."""
    at = record.node if record is not None else f"the node of {address}"
    place, name = Place("etcd", back, at), "record"
    if store.fault:
        yield place.unknown(name, store.fault, "overlayctl etcd")
        return
    if record is None:
        why = f"no record in etcd has {address}: its node has no lease, or it has ended"
        yield place.broken(name, "none", why, f"{RESTART}")
        return
    seen = f"{record.key} {record.node} {record.underlay} {record.mac}".strip()
    if record.left_s is not None and record.left_s <= 0:
        yield place.broken(name, seen, f"the lease of {record.key} has ended", RESTART)
    elif record.rival:
        why = f"record {record.key} is contradicted by {record.rival}"
        yield place.broken(name, seen, why, "overlayctl leases")
    elif record.backend == "vxlan" and not (record.mac and record.underlay):
        why = (
            f"record {record.key} names no {'VTEP MAC' if record.underlay else 'underlay address'}"
        )
        yield place.broken(name, seen, why, RESTART)
    else:
        left = "" if record.left_s is None else f", {record.left_s:.0f} s left"
        yield place.ok(name, seen + left)


def against_device(
    record: Record | None, facts: Facts, store: Store, *, back: bool
) -> Iterator[Hop]:
    """The record says one thing, the device may be another: peers send to the record's."""
    if record is None or facts.vxlan is None or store.net is None or not store.net.tunnels:
        return
    name, device = "record against device", facts.vxlan
    place = Place("etcd", back, facts.node)
    said, is_ = f"{record.mac} {record.underlay}", f"{device.mac} {device.local}"
    if record.mac and record.mac != device.mac:
        why = f"record {record.key} says VTEP MAC {record.mac}, but {device.name} of {facts.node} has {device.mac}"
        yield place.broken(name, said, why, RESTART)
    elif record.underlay and device.local and record.underlay != device.local:
        # an address that NAT hides is meant so (public_ip)
        why = f"record {record.key} says {record.underlay}, but {device.name} of {facts.node} sends from {device.local}"
        yield place.maybe(name, said, why, RESTART)
    else:
        yield place.ok(name, is_)
