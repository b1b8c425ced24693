"""The mesh as one HTML page that asks nobody for anything: template, data, and a policy that forbids the network. Pure.

Names in the data come from other machines. They stand in the page as JSON in which no character can end the
element (``<``, ``>`` and ``&`` are escaped), and its script writes them as text only. The policy allows the one
script and the one style sheet of the template, by their digests: whatever got into the page besides, it would not run.
"""

import base64
import hashlib
import json
import re
from functools import cache
from importlib import resources
from typing import Any

from agent.ctl.mesh.model import Edge, Mesh, Node
from overlay import __version__

TEMPLATE = "mesh.html"
_POLICY, _DATA = "@@POLICY@@", "@@DATA@@"
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page(mesh: Mesh, *, title: str = "") -> str:
    """The whole page."""
    text, policy = _template()
    head, tail = text.replace(_POLICY, policy).split(_DATA)
    return f"{head}{embedded(facts(mesh, title=title))}{tail}"


def embedded(value: object) -> str:
    """JSON that can stand inside of a script element, whatever it holds."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII, so no U+2028
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def facts(mesh: Mesh, *, title: str = "") -> dict[str, Any]:
    """What the page draws, and what ``--output json`` prints."""
    return {
        "title": title,
        "made": mesh.made,
        "here": mesh.here,
        "asked": mesh.asked,
        "answered": mesh.answered,
        "version": __version__,
        "verdicts": dict(mesh.verdicts),
        "states": dict(mesh.states),
        "left_out": sum(mesh.left_out.values()),
        "garbled": mesh.garbled,
        "nodes": [_node(node) for node in mesh.nodes],
        "edges": [_edge(edge) for edge in mesh.edges],
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "key": node.key,
        "name": node.name,
        "subnets": list(node.subnets),
        "address": node.address,
        "verdict": node.verdict,
        "version": node.version,
        "peers": node.peers,
        "failing": node.failing,
        "problem": node.problem,
        "more": node.more,
    }


def _edge(edge: Edge) -> list[Any]:
    """A row rather than an object: there may be a quarter of a million."""
    row = [edge.source, edge.target, edge.state, edge.family, edge.sent, edge.lost]
    return [*row, edge.rtt_ms, edge.largest, edge.full, round(edge.at), edge.why, edge.mend]


@cache
def _template() -> tuple[str, str]:
    """The template, and the policy that allows what is in it."""
    text = resources.files("agent").joinpath("files", TEMPLATE).read_text()
    style, script = _STYLE.findall(text), _SCRIPT.findall(text)
    sources = {"style-src": style, "script-src": script}
    allowed = "; ".join(
        f"{kind} {' '.join(_digest(body) for body in bodies)}" for kind, bodies in sources.items()
    )
    rest = "img-src data:; base-uri 'none'; form-action 'none'"
    return text, f"default-src 'none'; {allowed}; {rest}"


def _digest(body: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'"
