"""Which nft tables hang on the packets' way: the base chains, read by one dump of nfnetlink.

Only those tables are worth a listing: a table of nat rules may have ten thousand, and libnftables fetches every set of
every table where it is asked for the whole ruleset.
"""

import struct
from dataclasses import dataclass

from overlay.errors import KernelRefused
from overlay.netlink import constants as c
from overlay.netlink.attributes import message, unpack_attributes, unpack_text
from overlay.netlink.nftmonitor import NETLINK_NETFILTER
from overlay.netlink.socket import Netlink, open_socket

_GETCHAIN = 10 << 8 | 4
"""NFNL_SUBSYS_NFTABLES (linux/netfilter/nfnetlink.h), NFT_MSG_GETCHAIN (linux/netfilter/nf_tables.h)."""
_CHAIN_TABLE, _CHAIN_HOOK, _CHAIN_TYPE = 1, 4, 7
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}


@dataclass(frozen=True, slots=True)
class BaseChain:
    """``table`` is "inet firewalld", ``kind`` "filter", "nat" or "route"."""

    table: str
    kind: str


def base_chains() -> list[BaseChain]:
    """Of the network namespace of the calling thread; none where the kernel has no nftables.

    Raises:
        KernelBusy: the list changed while it was read.
    """
    head = struct.pack("=BBH", 0, 0, 0)  # struct nfgenmsg: every family
    try:
        with Netlink(open_socket(protocol=NETLINK_NETFILTER)) as door:
            answers = door.dump(message(_GETCHAIN, c.NLM_F_DUMP, head))
    except KernelRefused:
        return []
    return [chain for _, body in answers if (chain := _parsed(body))]


def _parsed(body: bytes) -> BaseChain | None:
    found = unpack_attributes(body, len(struct.pack("=BBH", 0, 0, 0)))
    if _CHAIN_HOOK not in found:
        return None
    table = unpack_text(found.get(_CHAIN_TABLE, b""))
    kind = unpack_text(found.get(_CHAIN_TYPE, b"filter"))
    return BaseChain(f"{_FAMILIES.get(body[0], body[0])} {table}", kind)
