"""Subnets of ours that the network config no longer gives: leased as long as pods have addresses in them.

The config changed (another Network, another SubnetLen), this agent was started anew and holds a new subnet.
Its old pods keep their addresses until they end by themselves: peers find them by the old record, which
stays, with our VTEP in it. New pods get addresses of the new subnet only. With its last pod the old record
goes. One that was lost before, with etcd's memory or by hand, is written again unless somebody has its subnet by now.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from agent import claim, etcd, survey
from agent.claim import Ask
from agent.etcd import Etcd
from agent.records import Keys, named, overlap
from cni.ipam import Ipam
from overlay import netconfig, schema
from overlay.errors import OverlayError, StoreUnavailable
from overlay.model import Address, Lease, Network, Subnet

log = logging.getLogger(__name__)

TRIES = 20


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


def put_back(store: Etcd, keys: Keys, gone: Sequence[Lease], ask: Ask) -> list[Lease]:
    """The records of ``gone`` that are held again, or could not be looked after: those are due again later."""
    kept = []
    for old in gone:
        try:
            kept += _put_back(store, keys, old, ask)
        except OverlayError as error:
            log.warning("the old subnet %s is looked at again later: %s", old.key, error)
            kept.append(old)
    return kept


def _put_back(store: Etcd, keys: Keys, old: Lease, ask: Ask) -> list[Lease]:
    subnets = [end.subnet for end in old.endpoints]
    served = {end.family for end in old.endpoints} <= ask.tunnels.keys()
    wanted = claim.asked(subnets, ask, key=old.key) if served else replace(old, challenge="")
    grant = store.grant(ask.ttl_s)
    for _ in range(TRIES):
        listing = store.range(keys.start, keys.end)
        for record in listing.records:
            key = record.key.removeprefix(keys.start)
            if (key, record.lease) == (old.key, old.etcd_lease):
                continue  # ours still, though it cannot be read, or does not name us
            if overlap(subnets, named(key)):
                log.warning("the old subnet %s is lost to its pods: %s is leased", old.key, key)
                store.revoke(grant)
                return []
        outcome = store.txn(
            [etcd.unchanged_since(keys.start, keys.end, listing.revision)],
            [
                etcd.putting(keys.start + old.key, schema.format_lease(wanted), lease=grant),
                *survey.marks(keys, "claimed", old.key, wanted),
            ],
        )
        if outcome.succeeded:
            log.warning("the record of the old subnet %s was gone, and is written again", old.key)
            made = outcome.revision
            return [replace(wanted, etcd_lease=grant, create_revision=made, mod_revision=made)]
    store.revoke(grant)
    raise StoreUnavailable(f"leases changed {TRIES} times while it was written again")
