"""Listening to what changes in nftables: which table, and by which program.

The kernel tells each object of a transaction, then the transaction's end with the name and the number of the
process that asked for it. Only the names of the tables are looked at: that is all it takes to know whether ours
is to be read again, and another program's thousands of set elements cost little.
"""

import errno
import socket
import sys
from dataclasses import dataclass

from overlay.errors import BadInput
from overlay.netlink.attributes import unpack_attributes, unpack_text
from overlay.netlink.frames import frames
from overlay.netlink.socket import RECEIVE_BUFFER, drain, open_socket

NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7
"""linux/netlink.h, linux/netfilter/nfnetlink.h."""
_NFT = 10  # NFNL_SUBSYS_NFTABLES: the high byte of a message's type
_DELTABLE, _NEWGEN = 2, 15
_TABLE, _GEN_PROC_PID, _GEN_PROC_NAME = 1, 2, 3
"""linux/netfilter/nf_tables.h; attribute 1 names the table in every object's message."""
_HEAD = 4  # struct nfgenmsg: family, version, resource id
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_RECEIVE = 1 << 18
MOST_DATAGRAMS = 4096


@dataclass(frozen=True, slots=True)
class TableChange:
    """A transaction touched ``table`` ("inet overlay"). ``process`` and ``pid``: who asked, as the kernel says.

    The number is that of a thread in the machine's first PID namespace.
    """

    table: str
    process: str
    pid: int
    deleted: bool = False


class NftEvents:
    """A subscription in the network namespace it was made in."""

    def __init__(self, *, buffer: int = RECEIVE_BUFFER) -> None:
        self.socket = open_socket(
            (NFNLGRP_NFTABLES,), protocol=NETLINK_NETFILTER, receive_buffer=buffer
        )
        self._touched: dict[str, bool] = {}  # of the transaction that has not ended yet

    def read(self) -> list[TableChange] | None:
        """What has come, without waiting; None if events were lost."""
        found: list[TableChange] = []
        for _ in range(MOST_DATAGRAMS):
            try:
                data = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    drain(self.socket)
                    self._touched.clear()
                    return None
                if error.errno == errno.EAGAIN:
                    break
                raise
            for kind, _, _, payload in frames(data):
                found += self._take(kind, payload)
        return found

    def _take(self, kind: int, payload: bytes) -> list[TableChange]:
        if kind >> 8 != _NFT or len(payload) < _HEAD:
            return []
        what = kind & 0xFF
        if what == _NEWGEN:
            return self._ended(unpack_attributes(payload, _HEAD))
        table = f"{_FAMILIES.get(payload[0], payload[0])} {_first_name(payload)}"
        self._touched[table] = what == _DELTABLE
        return []

    def _ended(self, found: dict[int, bytes]) -> list[TableChange]:
        process = unpack_text(found.get(_GEN_PROC_NAME, b""))
        pid = int.from_bytes(found.get(_GEN_PROC_PID, b""), "big")
        changes = [TableChange(name, process, pid, gone) for name, gone in self._touched.items()]
        self._touched.clear()
        return changes


def _first_name(payload: bytes) -> str:
    """The table's name, which the kernel puts first; the rest may be thousands of elements."""
    length = int.from_bytes(payload[_HEAD : _HEAD + 2], sys.byteorder)
    if int.from_bytes(payload[_HEAD + 2 : _HEAD + 4], sys.byteorder) == _TABLE and length >= 4:
        return unpack_text(payload[_HEAD + 4 : _HEAD + length])
    try:
        return unpack_text(unpack_attributes(payload, _HEAD).get(_TABLE, b""))
    except BadInput:
        return ""
