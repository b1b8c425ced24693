"""overlayctl leases, reserve, release and node: the records in etcd, with or without an agent."""

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from agent import connect, stale, values
from agent.byhand import ByHand, Owner
from agent.config import Config
from agent.ctl import show
from agent.holders import Facts, is_free_reservation, span
from agent.records import named, overlap
from overlay import netconfig
from overlay.conflicts import contradicting
from overlay.errors import BadConfig, NotReady
from overlay.model import Family, Lease, Network, Pool, Subnet

COLUMNS = ("subnet", "node", "public_ip", "backend", "vtep_mac", "expires", "note")


def add_arguments(name: str, verb: argparse.ArgumentParser) -> None:
    """The arguments of these verbs."""
    if name == "leases":
        verb.add_argument("--stale", action="store_true", help="only those nobody looks after")
    if name in ("reserve", "release"):
        verb.add_argument("which", metavar="SUBNET", help="such as 10.5.7.0/24, or IPV4,IPV6")
    if name == "reserve":
        verb.add_argument("--node", default="", metavar="NAME", help="for the node of this name")
        verb.add_argument("--address", metavar="IP", help="for the node with this underlay address")
    if name == "node":
        verb.add_argument("action", choices=("remove",), help="what to do")
        verb.add_argument("name", metavar="NAME", help="its name, machine id or address")
    if name in ("release", "node"):
        verb.add_argument("--force", action="store_true", help="even if it looks alive")


def leases(flags: argparse.Namespace, settings: Config) -> int:
    """One row per record under P/subnets, unreadable ones included; the last line counts."""
    with _by_hand(settings) as (hand, _):
        facts = hand.facts()
    rivals = contradicting(facts.leases.values())
    rows = [_row(lease, facts, rivals.get(lease.key, "")) for lease in facts.leases.values()]
    rows += [_unreadable(key, why) for key, why in facts.unreadable.items()]
    rows.sort(key=lambda row: str(row["subnet"]))
    if flags.stale:
        rows = [row for row in rows if row["stale"]]
    if flags.output == "json":
        show.as_json(rows)
        return 0
    columns = (*COLUMNS, "since", "stale") if flags.stale else COLUMNS
    show.table(
        [name.upper() for name in columns], [[row[name] or "-" for name in columns] for row in rows]
    )
    if flags.stale:
        print(f"stale: {len(rows)}; next: overlayctl node remove NAME, overlayctl release SUBNET")
    else:
        reserved = sum(is_free_reservation(lease) for lease in facts.leases.values())
        print(
            f"leases: {len(facts.leases) - reserved}, reservations: {reserved}, "
            f"unreadable: {len(facts.unreadable)}, conflicts: {len(rivals)}"
        )
    return 0


def reserve(flags: argparse.Namespace, settings: Config) -> int:
    """Keep a subnet for one node, or for nobody."""
    subnets = _subnets(flags.which)
    try:
        six = Family.V6 if ":" in (flags.address or "") else Family.V4
        address = values.public(six)(flags.address or "")
        node = values.node(flags.node) if flags.node else ""
    except ValueError as error:
        raise BadConfig(
            f"--node {flags.node!r}, --address {flags.address!r}: {error}",
            hint="overlayctl reserve --help",
        ) from error
    with _by_hand(settings) as (hand, network):
        pools = _check_inside(subnets, network)
        if node or address:
            _check_share(subnets, pools)
        lease, written = hand.reserve(subnets, Owner(node, address))
    owner = " and ".join(text for text in (node, str(address or "")) if text)
    text = f"{lease.key} is reserved for {owner or 'nobody: no node gets it'}"
    if owner:
        text += "; a node that holds another takes it at its next claim (overlayctl leave there, then a restart)"
    _say(
        flags,
        {"reserved": lease.key, "node": node, "address": flags.address or "", "written": written},
        text,
    )
    return 0


def release(flags: argparse.Namespace, settings: Config) -> int:
    """Remove a reservation; with --force another node's lease."""
    subnets = _subnets(flags.which)
    with _by_hand(settings) as (hand, _):
        who = hand.free(subnets, machine_id=settings.machine_id, force=flags.force)
    text = f"released {', '.join(map(str, subnets))}, which was held by {who}"
    _say(flags, {"released": flags.which, "held_by": who}, text)
    return 0


def node(flags: argparse.Namespace, settings: Config) -> int:
    """remove: forget a machine that will not come back. Refused if it answers."""
    with _by_hand(settings) as (hand, _):
        done = hand.remove(hand.records_of(flags.name), force=flags.force)
    text = f"removed {flags.name}: " + "; ".join(done)
    if flags.force:
        text += ". If it lives, it will claim a subnet again"
    _say(flags, {"removed": flags.name, "records": done}, text)
    return 0


@contextmanager
def _by_hand(settings: Config) -> Iterator[tuple[ByHand, Network | None]]:
    """The acts, and the network config where there is a good one."""
    with closing(connect.registry(settings)) as store:
        try:
            network = store.network()
        except BadConfig:
            network = None
        yield store.by_hand, network


def _subnets(text: str) -> tuple[Subnet, ...]:
    """From ``10.5.7.0/24`` or ``v4,v6``; a lease key is understood as well."""
    try:
        found = named(text) or values.subnets(text)
    except ValueError as error:
        raise BadConfig(f"{text!r} is no subnet: {error}", hint="such as 10.5.7.0/24") from error
    if not found:
        raise BadConfig("no subnet was given", hint="such as 10.5.7.0/24")
    return found


def _check_inside(subnets: tuple[Subnet, ...], network: Network | None) -> tuple[Pool, ...]:
    """Of the network, and a key that flannel can read: of one that it cannot it drops all its peers."""
    if network is None:
        raise NotReady("there is no network config to reserve from", hint="overlayctl init")
    pools = [pool.network for pool in network.pools]
    for subnet in subnets:
        if not any(
            overlap([subnet], [pool]) and subnet.prefixlen >= pool.prefixlen for pool in pools
        ):
            raise BadConfig(
                f"{subnet} is outside of the network {', '.join(map(str, pools))}",
                hint="overlayctl leases shows what is taken",
            )
        if subnet.prefixlen == subnet.max_prefixlen:
            raise BadConfig(
                f"{subnet} is a single address, and no subnet to reserve",
                hint="the whole share that it is of: " + "; ".join(map(_share, network.pools)),
            )
    if network.pool(Family.V4) and all(subnet.version == 6 for subnet in subnets):
        raise BadConfig(
            f"{subnets[0]} cannot be reserved without an IPv4 subnet: flannel reads no such key, and would drop "
            "its peers",
            hint="overlayctl reserve IPV4,IPV6",
        )
    return network.pools


def _check_share(subnets: tuple[Subnet, ...], pools: tuple[Pool, ...]) -> None:
    """A node takes what is reserved for it as it stands, or not at all."""
    if not all(any(netconfig.fits(pool, subnet) for subnet in subnets) for pool in pools):
        raise BadConfig(
            f"no node could take {', '.join(map(str, subnets))}: a node has {' and '.join(map(_share, pools))}",
            hint="overlayctl reserve "
            + ",".join(str(pool.first) for pool in pools)
            + " --node NAME, for instance",
        )


def _share(pool: Pool) -> str:
    return f"a /{pool.subnet_len} of {pool.first} to {pool.last}"


def _say(flags: argparse.Namespace, answer: dict[str, Any], text: str) -> None:
    if flags.output == "json":
        show.as_json({**answer, "text": text})
    else:
        print(text)


def _row(lease: Lease, facts: Facts, rival: str) -> dict[str, Any]:
    ends = lease.endpoints
    left = facts.left_s.get(lease.key)
    mark = next((facts.marks[net] for net in named(lease.key) if net in facts.marks), None)
    note = f"overlay-agent {lease.version}" if lease.machine_id else "written by another agent"
    if is_free_reservation(lease):
        note = "reserved"
    return {
        "subnet": ", ".join(str(end.subnet) for end in ends),
        "node": lease.node or "-",
        "public_ip": ", ".join(str(end.underlay) for end in ends if end.underlay) or "-",
        "backend": lease.backend or "-",
        "vtep_mac": ", ".join(end.mac for end in ends if end.mac) or "-",
        "expires": "never (reservation)" if left is None else f"in {span(left)} unless renewed",
        "note": note + (f"; contradicts the older {rival}, no node serves it" if rival else ""),
        "since": mark.at if mark is not None and mark.what == "claimed" else "",
        "stale": stale.why_stale(lease, facts),
        "left_s": left,
        "silent_s": stale.silent_s(lease, facts),
        "conflicts_with": rival,
    }


def _unreadable(key: str, why: str) -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys(COLUMNS, "-")
    return {
        **blank,
        "subnet": key,
        "note": f"unreadable: {why}",
        "since": "",
        "stale": "unreadable",
        "left_s": None,
        "silent_s": None,
        "conflicts_with": "",
    }
