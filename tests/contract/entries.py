"""A namespace's routes, neighbours and FDB entries as iproute2 shows them, and as pyroute2 hears them go.

Independent of the product's own doors: what is held against them must not be read by them.
"""

import contextlib
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from tests.contract.spaces import inside

Entry = tuple[str, ...]
"""Kind, what it is about, and where it leads: as iproute2 or pyroute2 name it."""
_GROUPS = 1 << 2 | 1 << 6 | 1 << 10
"""RTMGRP_NEIGH, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE of linux/rtnetlink.h."""


LINKS = ("overlay.1", "overlay-v6.1")


def there(space: Path) -> set[Entry]:
    """All routes, neighbours and FDB entries; what the kernel makes by itself included.

    Of neighbours on other devices those that somebody has set.
    """
    found: set[Entry] = set()
    for flag, usual in (("-4", "0"), ("-6", "1024")):
        for row in shown(space, "ip", flag, "-N", "-d", "-j", "route", "show", "table", "all"):
            if not row["dst"].startswith(("ff", "fe80")):  # the kernel makes them when it likes
                found.add(_route(row, usual))
        for row in shown(space, "ip", flag, "-j", "neigh", "show"):
            permanent = row["state"] == ["PERMANENT"]
            state = "" if permanent else str(row["state"])
            if permanent or row["dev"] in LINKS:
                found.add(("neighbour", row["dst"], row["dev"], row.get("lladdr", "") + state))
    for row in shown(space, "bridge", "-j", "fdb", "show"):
        if "dst" in row or "nhid" in row:
            more = "".join(
                f" {word} {row[word]}" for word in ("port", "vni", "nhid") if word in row
            )
            aged = "" if row["state"] == "permanent" else " aged"
            where = f"{row.get('dst', '')}{more}{aged}"
            found.add(("fdb", row["mac"], row["ifname"], where))
    return found


def shown(space: Path, *words: str) -> list[dict[str, Any]]:
    """What a command of iproute2 prints."""
    rows: list[dict[str, Any]] = json.loads(inside(space, *words) or "[]")
    return [row for row in rows if row]


def _route(row: Mapping[str, Any], usual: str) -> Entry:
    table = row.get("table", "254")
    hops = row.get("nexthops", [row])
    via = "+".join(str(hop.get("gateway", "")) for hop in hops)
    link = "+".join(str(hop.get("dev", "")) for hop in hops)
    metric = str(row.get("metric", usual if usual == "0" else "1024"))
    known: Entry = ("route", row["dst"], metric, via, link, row["protocol"])
    known += tuple(str(row[word]) for word in ("tos", "from") if word in row)
    if table in {"254", "main"} and row.get("type") in {"1", "unicast", None}:
        return known
    return (*known, f"table {table}", str(row.get("type")))


class Ear:
    """What the kernel says of routes, neighbours and FDB entries that go or change."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
        self._socket.bind((0, _GROUPS))
        self._socket.setblocking(False)
        self._names = dict(socket.if_nameindex())

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def heard(self) -> list[tuple[bool, Entry]]:
        """Since the last time: whether it went, and what it was or is now."""
        found: list[tuple[bool, Entry]] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                for message in MarshalRtnl().parse(self._socket.recv(1 << 16)):
                    if entry := self._entry(message):
                        found.append((message["event"].startswith("RTM_DEL"), entry))
        return found

    def _entry(self, message: Any) -> Entry | None:  # noqa: ANN401 - pyroute2's
        get = message.get_attr
        if message["event"].endswith("ROUTE"):
            dst = f"{get('RTA_DST')}/{message['dst_len']}"
            name = self._names.get(get("RTA_OIF") or 0, "")
            metric = str(get("RTA_PRIORITY") or 0)
            via = str(get("RTA_GATEWAY") or "")
            known = ("route", dst, metric, via, name, str(message["proto"]))
            return known if get("RTA_TABLE") == 254 else None
        name = self._names.get(message["ifindex"], "")
        mac = str(get("NDA_LLADDR") or "")
        if message["family"] == 7:
            return ("fdb", mac, name, str(get("NDA_DST") or ""))
        return ("neighbour", str(get("NDA_DST") or ""), name, mac)
