"""Who holds the subnets, in words: for a node that gets none, or not the one it asks for. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent import twins
from agent.history import Mark
from agent.records import named, overlap
from overlay import netconfig
from overlay.errors import BadConfig, LeaseLost, OutOfSubnets
from overlay.model import Lease, Pool, Subnet

OLDEST = 3
MOST_NODES = 8


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the records: readable ones, reasons of the others, marks.

    ``left_s`` and ``granted_s``: seconds until a lease ends, and its whole TTL, by lease key.
    """

    leases: Mapping[str, Lease]
    unreadable: Mapping[str, str]
    marks: Mapping[Subnet, Mark]
    left_s: Mapping[str, float]
    granted_s: Mapping[str, float]


def is_free_reservation(lease: Lease) -> bool:
    """A key without etcd lease that no agent has taken up: it names neither a VTEP nor a way without one."""
    taken = lease.backend == "host-gw" or any(end.mac for end in lease.endpoints)
    return not lease.etcd_lease and not taken


def span(seconds: float) -> str:
    """A duration for people: ``23 h 5 min``, ``4 min``, ``12 s``."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def tell(key: str, facts: Facts) -> str:
    """Who has one key: name, address, machine id, since when, for how long."""
    if key not in facts.leases:
        return f"a record that cannot be read ({facts.unreadable.get(key, 'it is gone again')})"
    lease = facts.leases[key]
    if is_free_reservation(lease):
        return f"a reservation for {twins.describe(lease)}" if _named(lease) else "a reservation"
    mark = next((facts.marks[net] for net in named(key) if net in facts.marks), None)
    current = mark is not None and mark.what == "claimed" and mark.machine_id == lease.machine_id
    more = [f"since {mark.at}" if mark is not None and current and mark.at else ""]
    if not lease.etcd_lease:
        more.append("without expiry")
    elif key in facts.left_s:
        more.append(f"{span(facts.left_s[key])} left unless renewed")
    known = ", ".join(fact for fact in more if fact)
    return twins.describe(lease) + (f", {known}" if known else "")


def out_of_subnets(pool: Pool, facts: Facts) -> OutOfSubnets:
    """How many are held, by whom, which are the oldest, and what to do."""
    held = [lease for lease in facts.leases.values() if _inside(lease.key, pool)]
    broken = [key for key in facts.unreadable if _inside(key, pool)]
    taken = [lease for lease in held if not is_free_reservation(lease)]
    reserved = len(held) - len(taken)
    foreign = sum(not lease.machine_id for lease in taken)
    counts = [
        f"{len(taken)} leases ({_by_node(taken)})" if taken else "",
        f"{reserved} reservations" if reserved else "",
        f"{len(broken)} keys that cannot be read" if broken else "",
        f"{foreign} of the leases written by other agents" if foreign else "",
    ]
    first = "; ".join(f"{lease.key} by {tell(lease.key, facts)}" for lease in oldest(pool, facts))
    return OutOfSubnets(
        f"out of subnets: all {netconfig.count(pool)} of {pool.network} with /{pool.subnet_len} are taken: "
        + ", ".join(count for count in counts if count)
        + (f"; the oldest: {first}" if first else ""),
        hint="overlayctl leases --stale; then for a machine that will not come back: overlayctl node remove NAME, "
        "for a reservation: overlayctl release SUBNET",
    )


def oldest(pool: Pool, facts: Facts) -> list[Lease]:
    """The leases of a pool that were made first."""
    taken = [
        lease
        for lease in facts.leases.values()
        if _inside(lease.key, pool) and not is_free_reservation(lease)
    ]
    return sorted(taken, key=lambda lease: (lease.create_revision, lease.key))[:OLDEST]


def not_this_one(subnet: Subnet, key: str, facts: Facts) -> BadConfig:
    """The setting asks for a subnet that somebody has."""
    return BadConfig(
        f"subnet = {subnet}: it is taken, {key} is held by {tell(key, facts)}",
        hint="free it there (overlayctl leave; if that machine is gone: overlayctl node remove NAME; a reservation: "
        "overlayctl release SUBNET), or ask for another",
    )


def pods_cut_off(pods: Iterable[Subnet], key: str, facts: Facts) -> LeaseLost:
    """Pods have addresses of a subnet that is somebody else's now."""
    return LeaseLost(
        f"the pods of this node have addresses of {', '.join(map(str, pods))}, which is now leased as {key} to "
        f"somebody else: {tell(key, facts)}; they keep running, new ones are refused",
        hint=f"{_freeing(key, facts)}, or drain this node and restart overlay-agent",
    )


def _freeing(key: str, facts: Facts) -> str:
    """Of a record that is no node's there is no node to go to."""
    if key not in facts.leases or is_free_reservation(facts.leases[key]):
        return f"free it: overlayctl release {key}"
    return (
        "free it there (overlayctl leave, or overlayctl node remove NAME if that machine is gone)"
    )


def _named(lease: Lease) -> bool:
    return bool(lease.node or lease.machine_id or any(end.underlay for end in lease.endpoints))


def _inside(key: str, pool: Pool) -> bool:
    return overlap(named(key), [pool.network])


def _by_node(leases: Iterable[Lease]) -> str:
    """``n1 2, n2 1, and 5 more nodes``, those with the most first."""
    counts = Counter(
        lease.node or ", ".join(str(end.underlay) for end in lease.endpoints) for lease in leases
    )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} {count}" for name, count in ranked[:MOST_NODES]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {rest} more nodes" if rest else "")
