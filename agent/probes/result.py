"""What a probe of one peer has shown, by family: the value that status, metrics, mesh and overlayctl read. Pure."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "lossy", "black hole", "silent", "unknown"]
STATES: tuple[State, ...] = ("silent", "black hole", "lossy", "unknown", "ok")
"""The worst first."""


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
