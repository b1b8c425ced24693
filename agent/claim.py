"""Which subnet a node asks for: pure choices over a list of records.

Preference: the subnet this node had; then one never used; then the one used longest ago. Among the never
used the choice is random, so that nodes that start together rarely collide.
"""

import random
from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.records import Span
from overlay import netconfig, schema
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
    """Our end of one family as peers see it; MAC and VNI are those of the VTEP, if there is one."""

    underlay: Address
    mac: str | None
    vni: int | None


Tunnels = Mapping[Family, Tunnel]
TRIES_AT_RANDOM = 64


@dataclass(frozen=True, slots=True)
class Ask:
    """Who claims what; see Registry.claim. ``at_home``: the state directory was written on this very machine."""

    identity: Identity
    network: Network
    tunnels: Tunnels
    ttl_s: int
    prefer: tuple[Subnet, ...] = ()
    want: tuple[Subnet, ...] = ()
    insist: bool = False
    pods: tuple[Address, ...] = ()
    at_home: bool = False


def mine(
    leases: Iterable[Lease], identity: Identity, tunnels: Tunnels, network: Network | None = None
) -> Lease | None:
    """This machine's record: by machine id, else by its address, else (a reservation) by its name.

    Of several the one that serves ``network`` comes first, then the oldest. One found by address may have
    another machine id: then it is not certain whose it is (agent/twins).
    """
    found = [
        (
            rank,
            network is not None and not serves(network, lease),
            lease.create_revision,
            lease.key,
            lease,
        )
        for lease in leases
        if (rank := _kinship(lease, identity, tunnels))
    ]
    return min(found, key=lambda it: it[:4])[4] if found else None


def rivals(leases: Iterable[Lease], identity: Identity, tunnels: Tunnels) -> list[Lease]:
    """Other machines' records that have our address."""
    return [
        lease
        for lease in leases
        if lease.machine_id
        and lease.machine_id != identity.machine_id
        and _kinship(lease, identity, tunnels) == 2
    ]


def _kinship(lease: Lease, identity: Identity, tunnels: Tunnels) -> int:
    """How a record is ours: 1 by machine id, 2 by address, 3 by name, 0 not at all."""
    if lease.machine_id and lease.machine_id == identity.machine_id:
        return 1
    if any(
        end.underlay and end.family in tunnels and end.underlay == tunnels[end.family].underlay
        for end in lease.endpoints
    ):
        return 2
    return 3 if lease.node and lease.node == identity.node and not lease.machine_id else 0


def check_wanted(network: Network, wanted: Sequence[Subnet]) -> None:
    """May this node ask for exactly these?

    Raises:
        BadConfig: one is not the pool's, or two are of one family.
    """
    for subnet in wanted:
        pool = network.pool(Family.of(subnet))
        if pool is None:
            pools = ", ".join(str(pool.network) for pool in network.pools)
            raise BadConfig(
                f"subnet = {subnet}: the network ({pools}) has no {Family.of(subnet).name} pool",
                hint="overlay-agent --help; the network config is P/config: overlayctl init",
            )
        if not netconfig.fits(pool, subnet):
            raise BadConfig(
                f"subnet = {subnet}: not one of the pool {pool.network}, which has /{pool.subnet_len} from "
                f"{pool.first} to {pool.last}",
                hint="take one of those, or leave the setting out",
            )
    if len({subnet.version for subnet in wanted}) < len(wanted):
        raise BadConfig(
            f"subnet = {', '.join(map(str, wanted))}: at most one per family",
            hint="such as subnet = 10.5.7.0/24,fd00:5:7::/64 in /etc/overlay/agent.toml",
        )


def serves(network: Network, lease: Lease) -> bool:
    """True if the record's subnets are what the config would give: one fitting subnet per pool."""
    ends = {end.family: end.subnet for end in lease.endpoints}
    wanted = {pool.family: pool for pool in network.pools}
    return ends.keys() == wanted.keys() and all(
        netconfig.fits(pool, ends[family]) for family, pool in wanted.items()
    )


def asked(subnets: Sequence[Subnet], ask: Ask, *, key: str = "") -> Lease:
    """What this node writes for given subnets; ``key`` where they are held already."""
    ends = []
    for subnet in subnets:
        tunnel = ask.tunnels[Family.of(subnet)]
        ends.append(Endpoint(subnet, tunnel.underlay, tunnel.mac, tunnel.vni))
    return Lease(
        key=key or schema.format_key(subnets),
        endpoints=tuple(ends),
        backend=ask.network.backend.kind,
        node=ask.identity.node,
        machine_id=ask.identity.machine_id,
        version=ask.identity.version,
    )


def choose(
    network: Network,
    taken: Sequence[Span],
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
    taken: Sequence[Span],
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
        number: when
        for net, when in used.items()
        if netconfig.fits(pool, net) and (number := netconfig.index(pool, net)) not in blocked
    }
    if total - blocked.count - len(known) > 0:
        return netconfig.nth(pool, _some_fresh(total, blocked, known, rng))
    if not known:
        raise OutOfSubnets(
            f"out of subnets: all {total} of {pool.network} with /{pool.subnet_len} are taken by {holders} leases",
            hint="overlayctl leases shows by whom; overlayctl leave on nodes that go away",
        )
    return netconfig.nth(pool, min(known, key=lambda number: (known[number], number)))


def has_free(pool: Pool, taken: Sequence[Span]) -> bool:
    """True if a pool has a subnet that overlaps no taken one."""
    total = netconfig.count(pool)
    return _blocked(pool, taken, total)[0].count < total


class _Numbers:
    """Numbers by their runs: one record of a wide IPv6 subnet blocks more of them than memory holds."""

    def __init__(self, runs: Iterable[tuple[int, int]]) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.count = 0
        for first, last in sorted(runs):
            known = self._lasts[-1] if self._lasts else -1
            if last <= known:
                continue
            self._firsts.append(max(first, known + 1))
            self._lasts.append(last)
            self.count += last - self._firsts[-1] + 1

    def __contains__(self, number: int) -> bool:
        return self.behind(number) != number

    def behind(self, number: int) -> int:
        """The number itself, or the first one after the run that it is in."""
        place = bisect_right(self._firsts, number) - 1
        return self._lasts[place] + 1 if place >= 0 and number <= self._lasts[place] else number


def _blocked(pool: Pool, taken: Sequence[Span], total: int) -> tuple[_Numbers, int]:
    """The numbers that overlap a taken subnet of any length, and how many leases do."""
    size = 1 << (pool.family.bits - pool.subnet_len)
    start, version = int(pool.first.network_address), pool.network.version
    runs: list[tuple[int, int]] = []
    for its_version, first, last in taken:
        if its_version != version:
            continue
        low, high = (first - start) // size, (last - start) // size
        if low < 0 or high >= total:
            low, high = max(low, 0), min(high, total - 1)
        if low <= high:
            runs.append((low, high))
    return _Numbers(runs), len(runs)


def _some_fresh(total: int, blocked: _Numbers, known: Container[int], rng: random.Random) -> int:
    """A number that is in neither; the pool is nearly used up, so walk from a random place."""
    number = rng.randrange(total)
    while number in known or number in blocked:
        number = max(number + 1, blocked.behind(number))
        number = number if number < total else 0
    return number
