"""Who there is, by etcd, and what each of them answers."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from agent import connect
from agent.config import Config
from agent.ctl.mesh.answers import build
from agent.ctl.mesh.model import Answer, Member, Mesh
from agent.holders import is_free_reservation
from overlay.errors import BadConfig
from overlay.model import Lease

Ask = Callable[[Sequence[str], str, str], Mapping[str, Answer]]
"""Lease keys, a verb and the peer it is about, or "" → an answer or an error for each; agent.ctl.far, bound."""
MOST_PROBED = 20
"""Nodes: with --probe each asks each, one after the other."""


@dataclass(frozen=True, slots=True)
class Roll:
    """All nodes that hold a subnet, in the order of their subnets, and the network they make."""

    members: tuple[Member, ...]
    network: str = ""


def roll(settings: Config) -> Roll:
    """By etcd.

    Raises:
        StoreUnavailable: etcd does not answer.
    """
    with closing(connect.registry(settings)) as store:
        leases = store.snapshot().leases.values()
        try:
            network = store.network()
        except BadConfig:  # the nodes are there all the same
            network = None
    taken = [lease for lease in leases if not is_free_reservation(lease)]
    pools = ", ".join(str(pool.network) for pool in network.pools) if network else ""
    return Roll(tuple(_member(lease) for lease in sorted(taken, key=_order)), pools)


def collect(found: Roll, ask: Ask, *, here: str, limit: int, probe: bool = False) -> Mesh:
    """Ask ``limit`` of them, ``here`` among them, for status and probes; flanneld's nodes have nobody to ask.

    With ``probe`` each node that answers measures its ways to all others that are asked now.
    """
    ours = [member for member in found.members if not member.foreign]
    ours.sort(key=lambda member: member.name != here)
    keys = [member.key for member in ours[:limit]]
    said = ask(keys, "status", "") if keys else {}
    speaking = [key for key in keys if isinstance(said.get(key), Mapping)]
    probed = _probed(keys, speaking, ask) if probe else None
    if probed is None:
        probed = ask(speaking, "probes", "") if speaking else {}
    return build(found.members, said, probed, made=time.time(), here=here)


def _probed(keys: Sequence[str], speaking: Sequence[str], ask: Ask) -> Mapping[str, Answer]:
    """One peer after the other is measured by all that speak: an agent does one such thing at a time."""
    rows: dict[str, list[Any]] = {key: [] for key in speaking}
    for peer in keys:
        askers = [key for key in speaking if key != peer]
        for key, answer in (ask(askers, "probes", peer) if askers else {}).items():
            fresh = answer.get("results") if isinstance(answer, Mapping) else None
            rows[key] += fresh if isinstance(fresh, list) else []
    return {key: {"results": found} for key, found in rows.items()}


def _member(lease: Lease) -> Member:
    ends = lease.endpoints
    return Member(
        lease.key,
        lease.node,
        tuple(str(end.subnet) for end in ends),
        ", ".join(str(end.underlay) for end in ends if end.underlay),
        foreign=not lease.machine_id,
    )


def _order(lease: Lease) -> tuple[tuple[int, int], ...]:
    """IPv4 before IPv6, by number and not by text."""
    return tuple((end.subnet.version, int(end.subnet.network_address)) for end in lease.endpoints)
