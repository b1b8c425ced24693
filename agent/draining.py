"""Subnets of ours that the network config no longer gives: leased as long as pods have addresses in them.

The config changed (another Network, another SubnetLen), this agent was started anew and holds a new subnet.
Its old pods keep their addresses until they end by themselves: peers find them by the old record, which
stays, with our VTEP in it. New pods get addresses of the new subnet only. With its last pod the old record
goes.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from cni.ipam import Ipam
from overlay import netconfig
from overlay.model import Address, Lease, Network, Subnet


def has_pods(lease: Lease, pods: Iterable[Address]) -> bool:
    """True if one of the addresses is of one of the lease's subnets."""
    subnets = [end.subnet for end in lease.endpoints]
    return any(address in subnet for address in pods for subnet in subnets)


def must_drain(lease: Lease, network: Network, pods: Iterable[Address]) -> bool:
    """True if pods live in a subnet that the config gives no more, though it has the family; or gives none of them.

    A subnet that is still given (one family was added or removed) is taken along into the new record. Not so
    where the record's other half is needed: two records would overlap.
    """
    living = set(pods)
    given = [_fits(network, end.subnet) for end in lease.endpoints]
    moved = any(
        not fits and network.pool(end.family) and any(address in end.subnet for address in living)
        for end, fits in zip(lease.endpoints, given, strict=True)
    )
    return moved or (not any(given) and has_pods(lease, living))


def _fits(network: Network, subnet: Subnet) -> bool:
    return any(netconfig.fits(pool, subnet) for pool in network.pools)


def addresses_in_use(run_dir: Path) -> tuple[Address, ...]:
    """What pods of this node hold, whichever plugin attached them."""
    return tuple(ip_address(name) for name in Ipam(run_dir).held())


def is_done(draining: Sequence[Lease], run_dir: Path) -> bool:
    """True if one of the leases has lost its last pod."""
    pods = addresses_in_use(run_dir) if draining else ()
    return any(not has_pods(lease, pods) for lease in draining)
