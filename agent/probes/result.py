"""What a probe of one peer has shown, by family: the value that status, metrics, mesh and overlayctl read. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "lossy", "black hole", "silent", "unknown"]
STATES: tuple[State, ...] = ("silent", "black hole", "lossy", "unknown", "ok")
"""The worst first."""
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Result:
    """One peer's endpoint. ``key`` is its lease's, ``address`` the one inside its subnet that was asked.

    ``sent`` and ``lost`` count packets that ought to pass; large ones of a black hole are not among them. ``largest``
    is the size in bytes of the largest IP packet that came back unfragmented (0: unknown), ``full`` the MTU that
    pods have. ``rtt_ms`` is the median. ``at`` is wall time, in seconds since 1970; 0 means never. ``heard``: probes
    of the peer's own arrive here, so one direction works. ``why`` is one sentence and ``next`` the command that mends
    it or shows more; both are empty where all is well.
    """

    key: str
    node: str
    family: int
    address: str
    sent: int = 0
    lost: int = 0
    rtt_ms: float = 0.0
    largest: int = 0
    full: int = 0
    state: State = "unknown"
    at: float = 0.0
    rtt_min_ms: float = 0.0
    rtt_max_ms: float = 0.0
    underlay: str = ""
    heard: bool = False
    why: str = ""
    next: str = ""

    @property
    def badness(self) -> int:
        """For sorting: the worst first."""
        return STATES.index(self.state)

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def worst_first(results: Iterable[Result]) -> list[Result]:
    """And by name."""
    return sorted(results, key=lambda it: (it.badness, it.node, it.key, it.family))


def named(results: Sequence[Result]) -> dict[str, str]:
    """What is wrong, by name, of the worst few and how many more there are; ``results`` has the worst first."""
    bad = [result for result in results if result.state not in ("ok", "unknown")]
    found: dict[str, str] = {}
    for result in bad[:MOST_NAMED]:
        who = f"probe {result.node or result.key}" + (" (IPv6)" if result.family == 6 else "")
        if who in found:  # a subnet that it drains
            who = f"{who} {result.key}"
        found[who] = f"{result.why}; next: {result.next}"
    if len(bad) > MOST_NAMED:
        found["probe"] = (
            f"{len(bad) - MOST_NAMED} more are not as they should be; look: overlayctl probe"
        )
    return found
