"""overlayctl mesh: the table of the nodes and of the paths that are not fine; with --html the page."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.ctl import far, show
from agent.ctl.mesh import page
from agent.ctl.mesh.collect import MOST_PROBED, collect, roll
from agent.ctl.mesh.model import VERDICTS, Answer, Edge, Mesh, Node
from overlay.errors import BadConfig
from overlay.nodefile import write_atomic

LIMIT, MOST = 200, 5000
PROBE_S = 10.0
"""What measuring one peer may take."""
ROWS = 200
"""Of each table, the worst first; --output json has all."""
NODE_COLUMNS = ("NODE", "SUBNET", "VERDICT", "VERSION", "PEERS", "OLDEST PROBLEM")
EDGE_COLUMNS = ("FROM", "TO", "STATE", "LOSS", "RTT", "LARGEST", "WHY")


def add_arguments(_: str, verb: argparse.ArgumentParser) -> None:
    """Its own."""
    verb.add_argument(
        "--html",
        metavar="FILE",
        help="write one page that shows it and loads nothing from anywhere",
    )
    verb.add_argument(
        "--probe",
        action="store_true",
        help=f"have the nodes, at most {MOST_PROBED}, measure their ways to one another now",
    )
    verb.add_argument(
        "--limit",
        type=int,
        default=LIMIT,
        metavar="N",
        help=f"ask at most so many nodes, in the order of their subnets [{LIMIT}, at most {MOST}]",
    )
    verb.add_argument(
        "--wait", type=float, default=5.0, metavar="S", help="for an answer at most so long [5]"
    )


def mesh(flags: argparse.Namespace, settings: Config) -> int:
    """0 all is well, 1 something is not, 2 nobody has answered."""
    if not 1 <= flags.limit <= MOST:
        raise BadConfig(f"--limit {flags.limit}: from 1 to {MOST} nodes can be asked")
    if not 0 < flags.wait <= 60:
        raise BadConfig(f"--wait {flags.wait:g}: from a moment to 60 seconds")

    def ask(keys: Sequence[str], verb: str, peer: str) -> Mapping[str, Answer]:
        if not peer:
            return far.ask_many(settings, keys, verb, timeout_s=flags.wait)
        return far.ask_many(settings, keys, verb, timeout_s=flags.wait + PROBE_S, key=peer)

    known = roll(settings)
    asked = min(flags.limit, len(known.members))
    if flags.probe and asked > MOST_PROBED:
        raise BadConfig(
            f"--probe would have {asked} nodes ask one another, {MOST_PROBED} are the most",
            hint=f"--limit {MOST_PROBED}; or the setting probe_interval on all nodes",
        )
    found = collect(known, ask, here=settings.node_name, limit=flags.limit, probe=flags.probe)
    if flags.html:
        _write(Path(flags.html), page.page(found, title=known.network))
    if flags.output == "json":
        show.as_json(plain(found, known.network))
    else:
        _tell(found)
        if flags.html:
            print(f"wrote {flags.html}: open it in a browser")
    return found.code


def plain(found: Mesh, network: str) -> dict[str, Any]:
    """For machines: edges by the names of their ends."""
    facts = page.facts(found, title=network)
    facts["edges"] = [
        {
            "from": found.nodes[edge.source].name,
            "to": found.nodes[edge.target].name,
            "from_key": found.nodes[edge.source].key,
            "to_key": found.nodes[edge.target].key,
            "state": edge.state,
            "family": edge.family,
            "measured": edge.measured,
            "loss": edge.loss,
            "rtt_ms": edge.rtt_ms,
            "largest": edge.largest,
            "full": edge.full,
            "at": edge.at,
            "why": edge.why,
            "next": edge.mend,
        }
        for edge in found.edges
    ]
    return facts


def _write(path: Path, text: str) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise BadConfig(f"--html {path}: not a file in a directory that is there")
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise BadConfig(f"--html {path} cannot be written: {error.strerror}") from error


def _tell(found: Mesh) -> None:
    nodes = sorted(found.nodes, key=lambda node: VERDICTS.index(node.verdict))
    shown = [node for node in found.nodes if node in set(nodes[:ROWS])]
    show.table(NODE_COLUMNS, [_node_row(node) for node in shown])
    if len(nodes) > ROWS:
        print(f"and {len(nodes) - ROWS} nodes more, none of them worse (--output json, --html)")
    bad = found.bad_edges
    if bad:
        print()
        show.table(EDGE_COLUMNS, [_edge_row(edge, found) for edge in bad[:ROWS]])
        if len(bad) > ROWS:
            print(f"and {len(bad) - ROWS} paths more (--output json, --html)")
    print()
    print(_counts(found))


def _node_row(node: Node) -> Sequence[object]:
    peers = f"{node.peers}, {node.failing} failing" if node.failing else node.peers
    more = f" (and {node.more} more)" if node.more else ""
    subnets = ", ".join(node.subnets)
    version = node.version or "-"
    return [node.name, subnets, node.verdict, version, peers, f"{node.problem}{more}" or "-"]


def _edge_row(edge: Edge, found: Mesh) -> Sequence[object]:
    family = f" (IPv{edge.family})" if edge.family == 6 else ""
    largest = f"{edge.largest} of {edge.full}" if edge.largest and edge.full else "-"
    return [
        found.nodes[edge.source].name,
        found.nodes[edge.target].name,
        edge.state + family,
        f"{100 * edge.loss:.0f} %" if edge.measured else "-",
        f"{edge.rtt_ms:.2f} ms" if edge.rtt_ms else "-",
        largest,
        edge.why or "-",
    ]


def _counts(found: Mesh) -> str:
    nodes = ", ".join(f"{count} {name}" for name, count in found.verdicts.items())
    paths = ", ".join(f"{count} {name}" for name, count in found.states.items())
    asked = f"asked {found.asked} of {len(found.nodes)} nodes, {found.answered} answered"
    unread = f"; {found.garbled} rows could not be read" if found.garbled else ""
    measured = "" if any(edge.measured for edge in found.edges) else " (none measured)"
    return f"{nodes or 'no nodes'}\npaths: {paths or 'none known'}{measured}\n{asked}{unread}"
