"""overlayctl history: who had an address, or which address a pod had, when, and on which node.

From the journal of this node, from etcd (which node has the subnet, who had it last), and, where an address belongs
to another node's subnet, from that node's agent. A node's journal goes where the node goes: what a machine that is
gone has known is lost with it, but for etcd's mark of who had the subnet.
"""

import argparse
import ipaddress
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from agent import chronicle, connect, history
from agent.config import Config
from agent.ctl import far, nodepage, show
from agent.ctl.historyrows import Found
from agent.history import Mark
from agent.printable import printable
from agent.records import Keys, named
from agent.spans import Asked, asked
from overlay import schema
from overlay.errors import BadConfig, BadInput, OverlayError
from overlay.family import Family
from overlay.model import Lease, Subnet

MOST_SILENT = 5
MOST_ASKED = 100
"""So many nodes are asked for a pod without --all."""
MOST_S = 600.0
"""So long their answers are waited for."""


def add_arguments(_: str, parser: argparse.ArgumentParser) -> None:
    """Who, when, and whom to ask."""
    parser.add_argument(
        "who", help="an address, a pod (name or namespace/name), or a container's id"
    )
    parser.add_argument(
        "--at",
        metavar="TIME",
        default="",
        help='who had it then: "14:02" or 2026-11-29T14:02 in the time zone of this machine, or with an offset',
    )
    parser.add_argument(
        "--since", metavar="TIME", default="", help="only what lasted until then, or longer"
    )
    parser.add_argument("--all", action="store_true", help="ask every node, however many there are")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="for other nodes' answers [5]"
    )


def history_of(flags: argparse.Namespace, settings: Config) -> int:
    """Exit code 0: somebody had it; 1: nobody that is known of; 2: nobody here, and others did not answer."""
    if not 0 <= flags.timeout <= MOST_S:
        raise BadConfig(f"--timeout {flags.timeout:g}: at most {MOST_S:g} seconds")
    now = time.time()
    words = {"who": flags.who, "at": moment(flags.at, now), "since": moment(flags.since, now)}
    words = {name: word for name, word in words.items() if word is not None}
    try:
        wish = asked(words)
    except BadInput as error:
        raise BadConfig(
            str(error), hint="overlayctl history --help; overlayctl ipam show"
        ) from error
    found = Found()
    found.take(settings.node_name, chronicle.look(settings.state_dir, wish, now=now))
    try:
        _ask_others(found, wish, words, flags, settings)
    except OverlayError as error:
        found.silent.append(f"{error}; next: {error.hint}" if error.hint else str(error))
    found.rows.sort(key=lambda row: row["from"], reverse=True)
    if flags.output == "json":
        show.as_json(
            {
                "rows": found.rows,
                "silent": found.silent,
                "skipped": found.skipped,
                "left_off": found.left_off,
                "subnet": found.subnet,
            }
        )
    else:
        _print(found, wish)
    return 0 if found.rows else 2 if found.silent else 1


def moment(text: str, now: float) -> float | None:
    """A time as people write it, on this machine's clock if it names no other; a time of day is the last such one.

    Raises:
        BadConfig: it is none.
    """
    if not text:
        return None
    # Without a zone, which is this machine's, as it was on that day: summer and winter differ.
    here = datetime.fromtimestamp(now)  # noqa: DTZ006
    try:
        if "-" not in text and ":" in text[:3]:
            clock = datetime.strptime(text, "%H:%M" if text.count(":") == 1 else "%H:%M:%S").time()  # noqa: DTZ007
            then = datetime.combine(here, clock)
            return (then if then <= here else then - timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise BadConfig(
            f"{text!r} is no time",
            hint='overlayctl history WHO --at "14:02", or --at 2026-11-29T14:02',
        ) from error


def _ask_others(
    found: Found, wish: Asked, words: dict[str, Any], flags: argparse.Namespace, settings: Config
) -> None:
    """The node that has the subnet of an address; for a pod, all nodes."""
    if wish.address and not flags.all and _is_own(wish.address, settings):
        return
    with closing(connect.registry(settings)) as registry:
        leases = registry.snapshot().leases
    others = {
        key: lease
        for key, lease in leases.items()
        if lease.machine_id != settings.machine_id and (lease.machine_id or lease.etcd_lease)
    }
    if wish.address:
        found.subnet = _subnet(wish.address, leases, settings)
        if not flags.all:
            others = {key: it for key, it in others.items() if _holds(key, wish.address)}
    elif found.rows and not flags.all:
        return
    elif len(others) > MOST_ASKED and not flags.all:
        found.silent.append(
            f"{len(others)} other nodes were not asked; next: overlayctl history {printable(wish.who)} --all"
        )
        return
    answers = far.ask_many(settings, list(others), "history", timeout_s=flags.timeout, **words)
    for key, answer in answers.items():
        if isinstance(answer, OverlayError):
            found.silent.append(str(answer))
        else:
            found.take(others[key].node or key, answer)


def _is_own(address: str, settings: Config) -> bool:
    here = nodepage.page(settings.run_dir)
    key = schema.format_key([one.subnet for one in here.families]) if here else ""
    return bool(key) and _holds(key, address)


def _holds(key: str, address: str) -> bool:
    return any(_inside(subnet, address) for subnet in named(key))


def _inside(subnet: Subnet, address: str) -> bool:
    found = ipaddress.ip_address(address)
    return Family.of(subnet) is Family.of(found) and found in subnet


def _subnet(address: str, leases: Mapping[str, Lease], settings: Config) -> str:
    """What etcd says of the subnet that an address is of."""
    holder = next((lease for key, lease in leases.items() if _holds(key, address)), None)
    mark = _mark(address, settings)
    said = []
    if holder is not None:
        said.append(f"{holder.key} is leased to {holder.node or 'a node without a name'}")
    if mark is not None and (holder is None or mark[1].machine_id != holder.machine_id):
        key, what = mark
        said.append(
            f"{key} was {what.what or 'used'} by {what.node or 'a node without a name'} at {what.at or '?'}"
        )
    return printable("; ".join(said) or f"nobody is known to have had the subnet of {address}")


def _mark(address: str, settings: Config) -> tuple[str, Mark] | None:
    keys = Keys(settings.etcd_prefix)
    with closing(connect.store(settings)) as store:
        for record in store.range(keys.used, keys.used_end).records:
            if _holds(key := record.key.removeprefix(keys.used), address):
                return key, history.parse_mark(record.value)
    return None


# --- as people read it --------------------------------------------------------------------------------------


def _print(found: Found, wish: Asked) -> None:
    if wish.at is not None:
        for row in found.rows:
            print(printable(sentence(row, wish)))
    elif found.rows:
        show.table(
            ["FROM", "UNTIL", "ENDED", "NODE", "POD", "ADDRESS", "CONTAINER"],
            [
                [
                    local(row["from"]),
                    local(row["until"]) if row.get("until") else "-",
                    _ENDS.get(str(row.get("end")), "?") if row.get("until") else "has it now",
                    row["node"],
                    row.get("pod") or "-",
                    ", ".join(map(str, row.get("addresses", ()))) or "-",
                    str(row.get("container", "-"))[:13],
                ]
                for row in found.rows
            ],
        )
    if not found.rows:
        when = f" at {local(wish.at)}" if wish.at is not None else ""
        what = "nobody is known to have had" if wish.address else "nothing is known of"
        print(printable(f"{what} {wish.who}{when}"))
    if not found.rows:
        for node, at in list(found.begins.items())[:MOST_SILENT]:
            print(printable(f"  i the history of {node} begins at {local(at)}"))
    for line in _remarks(found):
        print(printable(f"  i {line}"))


def sentence(row: dict[str, Any], wish: Asked) -> str:
    """Who had it at a moment. Pure."""
    until = row.get("until")
    ended = (
        f"until {local(until)} ({_ENDS.get(str(row.get('end')), '?')})"
        if until
        else "and has it still"
    )
    addresses = ", ".join(map(str, row.get("addresses", ())))
    what = wish.who if wish.address else f"{wish.who} ({addresses})"
    who = row.get("pod") or "a pod without a name"
    return (
        f"{what} at {local(wish.at)}: {who} on {row['node']}, from {local(row['from'])} {ended}, "
        f"container {row.get('container', '?')}"
    )


_ENDS = {"del": "deleted", "gone": "found gone by then", "reboot": "the node was rebooted"}


def _remarks(found: Found) -> list[str]:
    said = [f"etcd: {found.subnet}"] if found.subnet else []
    said += [f"not asked, or no answer: {why}" for why in found.silent[:MOST_SILENT]]
    if (more := len(found.silent) - MOST_SILENT) > 0:
        said.append(f"and {more} more nodes that gave no answer")
    if found.left_off:
        said.append(f"{found.left_off} older rows are left off; next: --since TIME or --at TIME")
    if found.skipped:
        said.append(f"{found.skipped} lines of the history could not be read, and are passed over")
    return said


def local(at: float | None) -> str:
    """On this machine's clock, as `date` would say it."""
    if at is None:
        return "-"
    try:
        return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    except (ValueError, OverflowError, OSError):
        return "?"
