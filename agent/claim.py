"""Which subnet a node asks for: pure choices over a list of records.

Preference: the subnet this node had; then one never used; then the one used longest ago. Among the never
used the choice is random, so that nodes that start together rarely collide.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from overlay import netconfig
from overlay.errors import BadConfig, OutOfSubnets
from overlay.model import Address, Endpoint, Family, Lease, Network, Pool, Subnet


@dataclass(frozen=True, slots=True)
class Identity:
    """Who claims."""

    node: str
    machine_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Our VTEP of one family as peers see it."""

    underlay: Address
    mac: str
    vni: int


Tunnels = Mapping[Family, Tunnel]
TRIES_AT_RANDOM = 64


def mine(leases: Iterable[Lease], identity: Identity, tunnels: Tunnels) -> Lease | None:
    """This machine's record: by machine id, else (written by flannel, or reserved) by its address or name.

    Raises:
        BadConfig: another machine's record has our address.
    """
    found = list(leases)
    for lease in found:
        if lease.machine_id and lease.machine_id == identity.machine_id:
            return lease
    for lease in found:
        shared = [
            end
            for end in lease.endpoints
            if end.underlay
            and end.family in tunnels
            and end.underlay == tunnels[end.family].underlay
        ]
        if shared and lease.machine_id:
            raise BadConfig(
                f"address {shared[0].underlay} of this node ({identity.node}, machine {identity.machine_id}) is "
                f"already leased as {lease.key} by {lease.node or 'a node without a name'} "
                f"(machine {lease.machine_id})",
                hint="give each node an address and a machine id of its own: ip address; systemd-machine-id-setup",
            )
        if shared or (lease.node and lease.node == identity.node and not lease.machine_id):
            return lease
    return None


def serves(network: Network, lease: Lease) -> bool:
    """True if the record's subnets are what the config would give: one fitting subnet per pool."""
    ends = {end.family: end.subnet for end in lease.endpoints}
    wanted = {pool.family: pool for pool in network.pools}
    return ends.keys() == wanted.keys() and all(
        netconfig.fits(pool, ends[family]) for family, pool in wanted.items()
    )


def record(
    subnets: Sequence[Subnet], network: Network, identity: Identity, tunnels: Tunnels, *, key: str
) -> Lease:
    """What this node writes for given subnets."""
    ends = []
    for subnet in subnets:
        tunnel = tunnels[Family.of(subnet)]
        ends.append(Endpoint(subnet, tunnel.underlay, tunnel.mac, tunnel.vni))
    return Lease(
        key=key,
        endpoints=tuple(ends),
        backend=network.backend.kind,
        node=identity.node,
        machine_id=identity.machine_id,
        version=identity.version,
    )


def choose(
    network: Network,
    taken: Sequence[Subnet],
    *,
    prefer: Sequence[Subnet],
    used: Mapping[Subnet, int],
    rng: random.Random,
) -> tuple[Subnet, ...]:
    """One free subnet per pool. ``used`` maps a subnet to the revision at which it was last claimed or freed.

    Raises:
        OutOfSubnets: a pool has none; the text counts.
    """
    return tuple(_one(pool, taken, prefer=prefer, used=used, rng=rng) for pool in network.pools)


def _one(
    pool: Pool,
    taken: Sequence[Subnet],
    *,
    prefer: Sequence[Subnet],
    used: Mapping[Subnet, int],
    rng: random.Random,
) -> Subnet:
    total = netconfig.count(pool)
    blocked, holders = _blocked(pool, taken, total)
    for subnet in prefer:
        if netconfig.fits(pool, subnet) and netconfig.index(pool, subnet) not in blocked:
            return subnet
    for _ in range(TRIES_AT_RANDOM):  # enough while the pool is mostly fresh, whatever its size
        number = rng.randrange(total)
        if number not in blocked and netconfig.nth(pool, number) not in used:
            return netconfig.nth(pool, number)
    known = {
        netconfig.index(pool, net): when for net, when in used.items() if netconfig.fits(pool, net)
    }
    if total - len(blocked | known.keys()) > 0:
        return netconfig.nth(pool, _some_fresh(total, blocked | known.keys(), rng))
    free = known.keys() - blocked
    if not free:
        raise OutOfSubnets(
            f"out of subnets: all {total} of {pool.network} with /{pool.subnet_len} are taken by {holders} leases",
            hint="overlayctl leases shows by whom; overlayctl leave on nodes that go away",
        )
    return netconfig.nth(pool, min(free, key=lambda number: (known[number], number)))


def _blocked(pool: Pool, taken: Sequence[Subnet], total: int) -> tuple[set[int], int]:
    """The numbers that overlap a taken subnet of any length, and how many leases do."""
    size = 1 << (pool.family.bits - pool.subnet_len)
    start = int(pool.first.network_address)
    blocked: set[int] = set()
    holders = 0
    for subnet in taken:
        if Family.of(subnet) is not pool.family:
            continue
        low = (int(subnet.network_address) - start) // size
        high = (int(subnet.broadcast_address) - start) // size
        low, high = max(low, 0), min(high, total - 1)
        if low <= high:
            holders += 1
            blocked.update(range(low, high + 1))
    return blocked, holders


def _some_fresh(total: int, not_these: set[int], rng: random.Random) -> int:
    """A number that is in neither; the pool is nearly used up, so walk from a random place."""
    start = rng.randrange(total)
    return next(
        number % total for number in range(start, start + total) if number % total not in not_these
    )
