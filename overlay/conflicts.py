"""Which records of a list contradict an older one: what every node will refuse to program. Pure.

The judgement itself is overlay.wanted's, made here without a node: for people who look at etcd.
"""

from collections.abc import Iterable

from overlay.model import FdbEntry, KernelObject, Lease, Neighbour, Route
from overlay.wanted import Wanted


def contradicting(leases: Iterable[Lease]) -> dict[str, str]:
    """The key of each lease that loses, and the key of the older one that it contradicts."""
    wanted = Wanted()
    for lease in leases:
        wanted.claim(lease.key, age=lease.create_revision, objects=tuple(_claims(lease)))
    return dict(wanted.losers)


def _claims(lease: Lease) -> Iterable[KernelObject]:
    for end in lease.endpoints:
        if end.underlay is None:
            continue
        device, via = end.family.name, end.subnet.network_address
        if lease.backend == "host-gw":
            yield Route(end.subnet, end.underlay, device, onlink=False)
        if end.mac is None:
            continue
        yield FdbEntry(device, end.mac, end.underlay)
        yield Neighbour(device, via, end.mac)
        yield Route(end.subnet, via, device)
