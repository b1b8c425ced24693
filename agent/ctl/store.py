"""What overlayctl asks etcd itself, so that it works while no agent runs: leases, init, leave."""

import argparse
from contextlib import closing
from typing import Any

from agent import connect
from agent.config import Config
from agent.registry import Registry
from overlay import netconfig
from overlay.conflicts import contradicting
from overlay.errors import BadConfig, NotReady
from overlay.model import Lease


def leases(config: Config) -> list[dict[str, Any]]:
    """One row per record under P/subnets, unreadable ones included."""
    with closing(connect.registry(config)) as store:
        listing = store.snapshot()
        rivals = contradicting(listing.leases.values())
        rows = [_row(store, it, rivals.get(it.key, "")) for it in listing.leases.values()]
    unreadable = [_blank(key, f"unreadable: {why}") for key, why in listing.unreadable.items()]
    return sorted(rows + unreadable, key=lambda row: str(row["subnet"]))


def init(config: Config, flags: argparse.Namespace) -> tuple[str, bool]:
    """Write P/config unless the same is there; returns its text and whether it was written.

    Raises:
        BadConfig: the values make no network, or another config is there and --force was not given.
    """
    text = netconfig.format_network(
        network=flags.network, subnet_len=flags.subnet_len, vni=flags.vni, port=flags.port
    )
    netconfig.parse_network(text.encode())  # refuse here what an agent would refuse
    with closing(connect.registry(config)) as store:
        present = store.raw_network()
        if present is not None and present.decode(errors="replace") == text:
            return text, False
        if present is not None and not flags.force:
            raise BadConfig(
                f"{store.prefix}/config already holds {present.decode(errors='replace')}",
                hint="running nodes keep the old one until restarted; to replace it: overlayctl init --force …",
            )
        store.write_network(text.encode())
    return text, True


def leave(config: Config) -> dict[str, Any]:
    """Give this machine's subnet back while no agent runs.

    Raises:
        NotReady: this machine holds none.
    """
    with closing(connect.registry(config)) as store:
        mine = [
            lease
            for lease in store.snapshot().leases.values()
            if lease.machine_id == config.machine_id
        ]
        if not mine:
            raise NotReady(
                f"no lease of machine {config.machine_id} ({config.node_name}): nothing to give back"
            )
        for lease in mine:
            store.release(lease)
    keys = ", ".join(lease.key for lease in mine)
    return {
        "left": keys,
        "text": f"gave back {keys} (no agent was running; the kernel was not touched)",
    }


def _row(store: Registry, lease: Lease, rival: str) -> dict[str, Any]:
    ends = lease.endpoints
    left = store.ttl_s(lease) if lease.etcd_lease else None
    return {
        "subnet": ", ".join(str(end.subnet) for end in ends),
        "node": lease.node or "-",
        "public_ip": ", ".join(str(end.underlay) for end in ends if end.underlay) or "-",
        "backend": lease.backend or "-",
        "vtep_mac": ", ".join(end.mac for end in ends if end.mac) or "-",
        "expires": "never (reservation)" if left is None else f"in {_span(left)} unless renewed",
        "note": (
            f"overlay-agent {lease.version}" if lease.machine_id else "written by another agent"
        )
        + (f"; contradicts the older {rival}, no node serves it" if rival else ""),
    }


def _blank(key: str, note: str) -> dict[str, Any]:
    blank = dict.fromkeys(
        ("subnet", "node", "public_ip", "backend", "vtep_mac", "expires", "note"), "-"
    )
    return {**blank, "subnet": key, "note": note}


def _span(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
