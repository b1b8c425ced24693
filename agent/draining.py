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
from overlay.model import Address, Lease, Network


def has_pods(lease: Lease, pods: Iterable[Address]) -> bool:
    """True if one of the addresses is of one of the lease's subnets."""
    subnets = [end.subnet for end in lease.endpoints]
    return any(address in subnet for address in pods for subnet in subnets)


def must_drain(lease: Lease, network: Network, pods: Iterable[Address]) -> bool:
    """True if the config gives none of the lease's subnets any more, and pods live in one.

    A subnet that is still given (one family was added or removed) is taken along into the new record.
    """
    given = any(
        netconfig.fits(pool, end.subnet) for pool in network.pools for end in lease.endpoints
    )
    return not given and has_pods(lease, pods)


def addresses_in_use(run_dir: Path) -> tuple[Address, ...]:
    """What pods of this node hold, whichever plugin attached them."""
    return tuple(ip_address(name) for name in Ipam(run_dir).held())


def is_done(draining: Sequence[Lease], run_dir: Path) -> bool:
    """True if one of the leases has lost its last pod."""
    pods = addresses_in_use(run_dir) if draining else ()
    return any(not has_pods(lease, pods) for lease in draining)
