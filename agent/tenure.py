"""How sure this node may be that its subnet is still its own.

etcd frees the subnet of a node that has not renewed for one TTL. A node that is cut off counts for itself, on
a clock that nobody sets, from the moment at which it *asked* for the last renewal that was granted; a
little before its time is up it gives no more addresses of the subnet away. Its pods run on: if nobody has
taken the subnet meanwhile, it is claimed again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from agent.moment import span

MARGIN_PART, MARGIN_MOST_S = 0.1, 60.0
"""So much earlier: the part of the TTL for clocks that differ, at most what one ADD may take."""


@dataclass(frozen=True, slots=True)
class _Term:
    renewed_at: float
    ttl_s: float
    doubt: str = ""


class Tenure:
    """Written by the life's thread, read by all. ``clock`` in seconds, never set back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._term: _Term | None = None

    def renewed(self, ttl_s: float, *, asked_at: float) -> None:
        """etcd has granted ``ttl_s`` from ``asked_at`` on (this clock's); 0 is a reservation, which never ends."""
        self._term = _Term(asked_at, ttl_s)

    def assumed(self, ttl_s: float, *, age_s: float, doubt: str) -> None:
        """From an earlier life: renewed ``age_s`` ago; ``doubt`` says why it cannot be built upon, if so."""
        self._term = _Term(self._clock() - age_s, ttl_s, doubt)

    def ended(self) -> None:
        """No subnet is held."""
        self._term = None

    @property
    def age_s(self) -> float:
        """Seconds since the last renewal; 0 if there is none."""
        term = self._term  # once: another thread may end it between two looks
        return self._clock() - term.renewed_at if term else 0.0

    def doubt(self) -> str:
        """Why no address of the subnet may be given away now; empty if it may, or if none is held."""
        term = self._term
        if term is None or term.doubt:
            return term.doubt if term else ""
        usable = term.ttl_s - min(term.ttl_s * MARGIN_PART, MARGIN_MOST_S)
        if not term.ttl_s or self.age_s < usable:
            return ""
        return (
            f"the lease was last renewed {span(self.age_s)} ago and runs {span(term.ttl_s)}: the subnet may be "
            "somebody else's by now. Pods that run are kept; new ones are taken as soon as etcd answers"
        )
