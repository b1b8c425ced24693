"""What `make bench-etcd` makes of its counts: figures per node and hour, and how they are said."""

from dataclasses import dataclass

from agent.keeping import RENEW_MOST_S

RENEW_S = RENEW_MOST_S * 0.9
"""Mean of agent.life's pause, which is uniform in 0.8 to 1.0 of it."""
RENEWALS_PER_HOUR = 3600 / RENEW_S


@dataclass(slots=True)
class Found:
    """What the closing line says."""

    events_per_renewal: float = 0.0
    requests_per_renewal: float = 0.0
    bytes_per_renewal: float = 0.0
    quiet_bytes_per_hour: float = 0.0
    join_s: float = 0.0

    @property
    def requests_per_hour(self) -> float:
        """Of one node, in steady state."""
        return self.requests_per_renewal * RENEWALS_PER_HOUR

    @property
    def bytes_per_hour(self) -> float:
        """Of one node, in steady state, both directions."""
        return self.bytes_per_renewal * RENEWALS_PER_HOUR + self.quiet_bytes_per_hour


def per(calls: dict[str, int], count: int) -> str:
    """Calls by method, for one of so many."""
    return ", ".join(f"{method} {number / count:.2f}" for method, number in calls.items())


def say(title: str, *facts: str) -> None:
    """A phase and what it found."""
    print(title, *(f"  {fact}" for fact in facts), sep="\n", flush=True)


def flannel(nodes: int) -> None:
    """Not run: from the reading of flannel's source (etcd subnet manager, vxlan backend)."""
    say(
        f"flannel with {nodes} nodes, COMPUTED from its source, not run",
        f"start of one node: 2N + 10 = {2 * nodes + 10} round trips, one after the other",
        f"renewal of one node (a put every 23 h): {nodes} events, and {nodes} TimeToLive reads by those who hear",
        f"per node and hour: {nodes / 23:.0f} events and {nodes / 23:.0f} requests",
    )
