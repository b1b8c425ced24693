"""Answers as people read them: tables on a terminal, plain columns in a pipe, or JSON."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.printable import printable

CELL = 400
"""Characters of a table's cell."""
_WIDE = 200  # a pipe has no width: do not fold its lines at 80


def console() -> Console:
    """Colours only on a terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def as_json(answer: object) -> None:
    """For machines."""
    print(json.dumps(answer, indent=2, default=str))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns with a heading; rules and colours only on a terminal."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(str(cell), CELL)) for cell in row))
    console().print(grid)


def status(answer: Mapping[str, Any], verdict: str) -> None:
    """One screen: what this node is and the first thing that is wrong."""
    colour = {"healthy": "green", "degraded": "yellow", "down": "red"}[verdict]
    out = console()
    out.print(Text.assemble(("● ", colour), (f"{answer['node']} is {verdict}", "bold")))
    etcd, peers = answer["etcd"], answer["peers"]
    facts = {
        "version": answer["version"],
        "subnet": ", ".join(answer["subnets"]) or "none yet",
        "lease": _lease(answer["lease"]),
        "etcd": _etcd(etcd),
        "underlay": answer["underlay"] or "not chosen yet",
        "devices": ", ".join(answer["devices"]) or "none yet",
        "mtu": f"{answer['mtu']} ({answer['mtu_why']})" if answer["mtu"] else "not known yet",
        "peers": f"{peers['total']} known, {peers['failing']} failing, {peers['unreadable']} unreadable"
        + (f", {peers['kept']} kept though etcd lost them" if peers["kept"] else ""),
        "pods": _pods(answer["attachments"], answer["pods"]),
        "kernel": _kernel(answer),
    }
    if answer.get("instance"):
        facts = {"instance": answer["instance"], **facts}
    probes = dict(answer.get("probes", {}))
    if every_s := probes.pop("interval_s", 0):
        states = ", ".join(f"{count} {state}" for state, count in sorted(probes.items()))
        facts["probes"] = f"each peer every {every_s:g} s; {states or 'none yet'}"
    if answer.get("draining"):  # an agent of before an upgrade does not say it
        facts["draining"] = f"{', '.join(answer['draining'])}, until the pods there are gone"
    if answer["waiting_for"]:
        facts["waiting for"] = answer["waiting_for"]
    for name, fact in facts.items():
        out.print(Text(printable(f"  {name:<12}{fact}")))
    for sentence in answer["notices"]:
        out.print(Text(printable(f"  i {sentence}"), style="cyan"))
    for who, why in answer["trouble"].items():
        out.print(Text(printable(f"  ! {who[:CELL]}: {why}"), style="yellow"))


def _etcd(etcd: Mapping[str, Any]) -> str:
    where = f"{', '.join(etcd['endpoints'])}, revision {etcd['revision']}"  # the reason: below, with "!"
    heard = etcd.get("heard_s_ago")
    last = "" if heard is None else f", watch last heard {heard:.0f} s ago"
    return f"{etcd['state']} since {etcd['since']} ({where}{last})"


def _kernel(answer: Mapping[str, Any]) -> str:
    day = answer.get("mended_last_day", 0)  # an agent of before an upgrade does not say it
    times = f"; others undid something {day} times within a day (overlayctl drift)" if day else ""
    return f"{answer['changes']} changes since start, {answer['mended']} mended after others{times}"


def _pods(count: int, swept: Mapping[str, Any]) -> str:
    ailing = f", {len(swept['faults'])} with faults" if swept["faults"] else ""
    done = f"{swept['mended']} mended, {swept['collected']} left-overs taken away"
    return f"{count} attached{ailing}; since start {done}"


def _lease(lease: Mapping[str, Any]) -> str:
    if not lease.get("key"):
        return "none"
    ttl = lease.get("ttl_s")
    left = (
        f", TTL {ttl:.0f} s, renewed {lease['renewed_s_ago']:.0f} s ago"
        if ttl
        else ", without expiry"
    )
    source = " (from the last-good copy)" if lease["how"] == "remembered" else ""
    return f"{lease['key']}{left}{source}"
