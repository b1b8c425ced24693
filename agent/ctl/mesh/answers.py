"""Answers of all nodes, read as one mesh. Pure.

What a probe has measured counts most; where none runs, the state of an edge is what that node's kernel and reconcile
loop say. Answers come from other machines: whatever does not have the promised form is left out and counted, never
believed and never fatal.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agent.ctl.mesh.model import (
    DEGRADED,
    DOWN,
    FAILING,
    FLANNEL,
    HEALTHY,
    MUTE,
    OK,
    STATES,
    UNASKED,
    Answer,
    Edge,
    Member,
    Mesh,
    Node,
)
from agent.printable import printable
from overlay.errors import OverlayError

MOST_PLAIN = 400
"""With more nodes asked than this, edges that are fine and not measured are counted only: there are millions."""
MOST_EDGES = 250_000
MOST_TEXT, MOST_NAME = 300, 80


class _Probed(msgspec.Struct):
    """One row of "probes", as agent.probes states it."""

    key: Annotated[str, Meta(max_length=200)]
    state: str
    family: int = 0
    sent: Annotated[int, Meta(ge=0, le=1 << 40)] = 0
    lost: Annotated[int, Meta(ge=0, le=1 << 40)] = 0
    rtt_ms: Annotated[float, Meta(ge=0, le=1e7)] | None = None
    largest: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    full: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    at: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    why: str = ""
    next: str = ""


@dataclass(slots=True)
class _Reading:
    """What is put together while answers are read."""

    places: Mapping[str, int]
    edges: list[Edge] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    garbled: int = 0

    def add(self, edge: Edge) -> None:
        """Keep it, as long as there is room."""
        if len(self.edges) < MOST_EDGES:
            self.edges.append(edge)
        else:
            self.left_out[edge.state] += 1


def build(
    members: Sequence[Member],
    said: Mapping[str, Answer],
    probed: Mapping[str, Answer],
    *,
    made: float,
    here: str = "",
) -> Mesh:
    """``said`` and ``probed`` are the answers to "status" and "probes" by lease key, an error for none.

    A member that is in neither was not asked.
    """
    asked = [member.key for member in members if member.key in said]
    reading = _Reading({member.key: place for place, member in enumerate(members)})
    nodes = tuple(_node(member, said.get(member.key)) for member in members)
    plain = asked if len(asked) <= MOST_PLAIN else []
    for member in members:
        status = said.get(member.key)
        if isinstance(status, Mapping):
            results = probed.get(member.key)
            spoken = _read(reading, member, status, _mapping(results))
            for key in plain:
                if key not in spoken:
                    place = reading.places[key]
                    reading.add(Edge(reading.places[member.key], place, OK))  # its kernel's word
            if not plain:
                reading.left_out[OK] += len(asked) - len(spoken & said.keys())
    return Mesh(
        nodes,
        tuple(reading.edges),
        made,
        here=here,
        asked=len(asked),
        answered=sum(isinstance(said[key], Mapping) for key in asked),
        left_out=dict(reading.left_out),
        garbled=reading.garbled,
    )


def _node(member: Member, answer: Answer | None) -> Node:
    name = printable(member.name or member.key, MOST_NAME)
    subnets = tuple(printable(text, MOST_NAME) for text in member.subnets)
    known = (member.key, name, subnets, printable(member.address, MOST_NAME))
    if member.foreign:
        return Node(*known, FLANNEL, problem="no agent of ours: its own word is not to be had")
    if answer is None:
        return Node(*known, UNASKED)
    if isinstance(answer, OverlayError):
        return Node(*known, MUTE, problem=printable(str(answer), MOST_TEXT))
    verdict, peers = answer.get("verdict"), _mapping(answer.get("peers"))
    troubles = _troubles(answer)
    return Node(
        *known,
        verdict if verdict in (HEALTHY, DEGRADED) else DOWN,
        version=_text(answer.get("version"), MOST_NAME),
        peers=_count(peers.get("total")),
        failing=_count(peers.get("failing")),
        problem=_oldest(troubles) or _text(answer.get("waiting_for")),
        more=max(len(troubles) - 1, 0) + _count(answer.get("trouble_more")),
    )


def _read(
    reading: _Reading, member: Member, status: Mapping[str, Any], results: Mapping[str, Any]
) -> set[str]:
    """The edges that a node speaks of: what was measured, and what its kernel does not hold. Returns to whom."""
    source, spoken = reading.places[member.key], {member.key}
    troubles = _troubles(status)
    failing = {
        key: _text(why)
        for key, why in troubles.items()
        if key in reading.places and key != member.key
    }
    told: set[tuple[int, int]] = set()
    for row in _rows(results):
        edge = _measured(row, source, reading.places, failing)
        if edge is None or (edge.target, edge.family) in told:
            reading.garbled += 1  # said twice, it would take the room of others
        else:
            reading.add(edge)
            told.add((edge.target, edge.family))
            spoken.add(row["key"])
    for key, why in failing.items():
        if key not in spoken:
            reading.add(Edge(source, reading.places[key], FAILING, why=why))
            spoken.add(key)
    return spoken


def _measured(
    row: Any,  # noqa: ANN401 - any JSON
    source: int,
    places: Mapping[str, int],
    failing: Mapping[str, str],
) -> Edge | None:
    try:
        found = msgspec.convert(row, type=_Probed, strict=False)
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError):
        return None
    target = places.get(found.key)
    if target is None or target == source or found.state not in STATES:
        return None
    return Edge(
        source,
        target,
        FAILING if found.key in failing else found.state,
        family=found.family if found.family in (4, 6) else 0,
        sent=found.sent,
        lost=min(found.lost, found.sent),
        rtt_ms=round(found.rtt_ms or 0.0, 3),
        largest=found.largest,
        full=found.full,
        at=found.at,
        why=failing.get(found.key, "") or printable(found.why, MOST_TEXT),
        mend=printable(found.next, MOST_TEXT),
    )


def _rows(results: Mapping[str, Any]) -> Iterable[Any]:
    rows = results.get("results", ())
    return rows if isinstance(rows, list | tuple) else ()


def _troubles(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(status.get("trouble"))


def _oldest(troubles: Mapping[str, Any]) -> str:
    for who, why in troubles.items():
        return printable(f"{who}: {why}", MOST_TEXT)
    return ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object, most: int = MOST_TEXT) -> str:
    return printable(value, most) if isinstance(value, str) else ""


def _count(value: object) -> int:
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
    return value if sane and isinstance(value, int) else 0
