"""CHECK: does the pod still have what ADD left? Says exactly what differs."""

from ipaddress import ip_interface
from pathlib import Path

import msgspec

from cni import delegate, health, lock, previous
from cni.health import Expected
from cni.ipam import Ipam
from cni.previous import Previous
from cni.protocol import Request
from cni.record import Attachment
from cni.steps import Steps
from overlay.errors import BadConfig, BadVersion, Differs
from overlay.model import HostAddress
from overlay.nft import Nft
from overlay.nodefile import NodePage

_BEFORE_CHECK = ("0.1.0", "0.2.0", "0.3.0", "0.3.1")


def check(request: Request, page: NodePage, run_dir: Path, *, steps: Steps) -> None:
    """Compare kernel and allocation with prevResult.

    Raises:
        BadVersion: CHECK came with CNI 0.4.0.
        BadConfig: there is no prevResult.
        Differs: all differences, in one sentence.
    """
    config = request.config
    if config.version in _BEFORE_CHECK:
        raise BadVersion(f"cniVersion {config.version} has no CHECK; it came with 0.4.0")
    if config.previous is None:
        raise BadConfig(
            "prevResult is missing: CHECK compares with what ADD answered",
            hint="the runtime keeps it; a network without it must be detached and attached again",
        )
    answered = previous.read(config.previous, unstated=config.version)
    with lock.held(run_dir, request.owner.place, steps):
        steps.at("look")
        faults = _faults(request, answered, page, Ipam(run_dir))
        if not config.is_ipam and config.ipam.foreign:
            given = {**delegate.config_for(request, page), "prevResult": dict(config.previous)}
            delegate.call("CHECK", given, delegate.environ_of(request), steps)
    if faults:
        raise Differs(
            f"{request.ifname} of {request.container[:12]}: " + "; ".join(faults),
            hint="overlayctl ipam check; delete the pod to get a new network",
        )


def _faults(request: Request, answered: Previous, page: NodePage, ipam: Ipam) -> list[str]:
    record = ipam.record(request.owner)
    if record is None:
        return ["this node has no record of the attachment"]
    place = answered.interface(request.ifname, request.netns)
    promised = answered.addresses_of(place)
    ours = [ip_interface(text) for text in record.addresses]
    faults = [f"prevResult has lost address {item}" for item in ours if item not in promised]
    faults += _allocation(record, ipam)
    if request.config.is_ipam:
        return faults
    if place is None:
        return [*faults, f"prevResult has no interface {request.ifname} in {request.netns}"]
    record = msgspec.structs.replace(record, netns=request.netns)  # a runtime may know another way
    expected = Expected(
        ifname=request.ifname,
        mac=str(answered.interfaces[place].get("mac") or ""),
        mtu=record.mtu,
        addresses=tuple(ours),
        destinations=_promised_routes(answered, ours),
    )
    gateways = tuple(family.gateway.ip for family in page.families)
    return [*faults, *health.look(record, expected, gateways).all, *_rules(page.marks.table)]


def _promised_routes(answered: Previous, ours: list[HostAddress]) -> frozenset[str]:
    """Only our own default routes are ours to answer for."""
    defaults = {"0.0.0.0/0" if item.version == 4 else "::/0" for item in ours}
    return answered.destinations & defaults


def _rules(table: str) -> list[str]:
    """Without our nft table a pod's packets to the outside keep an address that nobody answers to."""
    nft = Nft()
    try:
        there = nft.has_table(table)
    finally:
        nft.close()
    return [] if there else [f"nft table {table} is gone"]


def _allocation(record: Attachment, ipam: Ipam) -> list[str]:
    held = ipam.held()
    faults = []
    for text in record.addresses:
        holder = held.get(text.partition("/")[0])
        if holder is None:
            faults.append(f"address {text} is not reserved")
        elif holder != record.owner.place:
            faults.append(f"address {text} is reserved for {holder}")
    return faults
