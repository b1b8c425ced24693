"""The mesh: nodes, edges from the node that speaks to the one it speaks of, and how many are how. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overlay.errors import OverlayError

OK, LOSSY, BLACK_HOLE, SILENT, FAILING, UNKNOWN = (
    "ok",
    "lossy",
    "black hole",
    "silent",
    "failing",
    "unknown",
)
STATES = (FAILING, SILENT, BLACK_HOLE, LOSSY, UNKNOWN, OK)
"""Of an edge, the worst first. ``failing``: the kernel of that node does not hold the way."""
FINE = frozenset({OK, UNKNOWN})
HEALTHY, DEGRADED, DOWN, MUTE, FLANNEL, UNASKED = (
    "healthy",
    "degraded",
    "down",
    "silent",
    "flannel",
    "not asked",
)
VERDICTS = (DOWN, MUTE, DEGRADED, FLANNEL, UNASKED, HEALTHY)
"""Of a node, the worst first. ``silent``: an agent of ours that did not answer; flanneld has nothing to answer with."""
WELL = frozenset({HEALTHY, FLANNEL, UNASKED})
Answer = Mapping[str, Any] | OverlayError


@dataclass(frozen=True, slots=True)
class Member:
    """One lease of etcd. ``foreign``: written by flanneld, whose node has no agent of ours."""

    key: str
    name: str
    subnets: tuple[str, ...]
    address: str
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One row. ``problem`` is its oldest one, or why nothing is known of it."""

    key: str
    name: str
    subnets: tuple[str, ...]
    address: str
    verdict: str
    version: str = ""
    peers: int = 0
    failing: int = 0
    problem: str = ""
    more: int = 0


@dataclass(frozen=True, slots=True)
class Edge:
    """From one node to another, both by their place among the nodes. 0 is "not known" of every figure but ``lost``.

    ``family`` is 4 or 6, or 0 where the kernel's word stands for both; ``at`` is in Unix seconds; ``mend`` is the
    command that the node itself proposes.
    """

    source: int
    target: int
    state: str
    family: int = 0
    sent: int = 0
    lost: int = 0
    rtt_ms: float = 0.0
    largest: int = 0
    full: int = 0
    at: float = 0.0
    why: str = ""
    mend: str = ""

    @property
    def measured(self) -> bool:
        """By a probe."""
        return self.sent > 0

    @property
    def loss(self) -> float:
        """Of all that was sent, 0 to 1."""
        return self.lost / self.sent if self.sent else 0.0


@dataclass(frozen=True, slots=True)
class Mesh:
    """All of it, at ``made`` (Unix seconds), as asked from ``here``.

    ``left_out`` counts the edges that are not among ``edges``, by state; ``garbled`` rows of answers could not be read.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    made: float
    here: str = ""
    asked: int = 0
    answered: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    garbled: int = 0

    @property
    def verdicts(self) -> Mapping[str, int]:
        """Nodes by verdict, the worst first."""
        return _ordered(VERDICTS, Counter(node.verdict for node in self.nodes))

    @property
    def states(self) -> Mapping[str, int]:
        """Edges by state, the worst first."""
        found = Counter(edge.state for edge in self.edges)
        found.update(self.left_out)
        return _ordered(STATES, found)

    @property
    def bad_edges(self) -> tuple[Edge, ...]:
        """Those that are not fine, the worst first."""
        bad = [edge for edge in self.edges if edge.state not in FINE]
        return tuple(sorted(bad, key=lambda edge: STATES.index(edge.state)))

    @property
    def code(self) -> int:
        """The exit code: 0 all is well, 1 something is not, 2 nobody that was asked has answered."""
        if self.asked and not self.answered:
            return 2
        ailing = any(node.verdict not in WELL for node in self.nodes)
        return int(ailing or any(state not in FINE for state in self.states))


def _ordered(order: Sequence[str], counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in order if counts.get(name)}
