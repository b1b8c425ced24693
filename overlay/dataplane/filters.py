"""Every program's firewall rules that packets of this node pass, as they are now. For agent.rulesets to judge."""

from collections.abc import Collection
from contextlib import closing

from overlay.netlink import xtables
from overlay.netlink.nftchains import base_chains
from overlay.nft import Nft

MOST_TABLES = 64
_IDLE = {"nat"}
"""Chains that translate addresses; what drops is elsewhere, and these may have ten thousand rules."""


def listings(*, also: Collection[str] = ()) -> list[tuple[str, str]]:
    """(JSON, text with handles) of each table that may drop packets, those of iptables-legacy included.

    In the calling thread's network namespace. ``also``: tables that are listed, too, if they are there.

    Raises:
        OverlayError: the kernel or libnftables refused.
    """
    chains = [chain for chain in base_chains() if chain.kind not in _IDLE]
    filtering = {chain.table for chain in chains if not chain.table.startswith("arp ")}
    tables = [*also, *sorted(filtering - {*also})]
    with closing(Nft()) as nft:
        found = [nft.listing(table) for table in tables[:MOST_TABLES]]
    return [listing for listing in found if listing is not None] + xtables.listings()
