"""Pod-to-pod throughput: iperf3 over our overlay, over the same devices made by hand, and directly.

All ways are measured in turn, round by round, in one run: what disturbs the machine disturbs all of them. Our nft
tables are taken away for one of the ways, with the agents stopped, and put back after it.
"""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e import bench_hand
from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.node import Node, wait_for
from e2e.process import CommandFailed, Daemon

TABLE = "inet overlay"
SMALL = 64
"""Bytes of UDP payload."""
PORT = 5201


@dataclass(frozen=True, slots=True)
class Way:
    """From a client to a server that listens; ``prepared`` surrounds each measurement."""

    name: str
    client: Namespace
    server: Namespace
    address: str
    prepared: Callable[[], "Surrounding"]


Surrounding = Iterator[None]


@dataclass(slots=True)
class Rates:
    """Per round: TCP in bits per second; small UDP packets that arrived, per second."""

    tcp: list[float] = field(default_factory=list)
    udp: list[float] = field(default_factory=list)

    def tcp_to(self, other: "Rates") -> float:
        """The median of the rounds' ratios."""
        return statistics.median(a / b for a, b in zip(self.tcp, other.tcp, strict=True))

    def udp_to(self, other: "Rates") -> float:
        """The same of packets."""
        return statistics.median(a / b for a, b in zip(self.udp, other.udp, strict=True))


def measure(
    lab: Lab, ways: list[Way], *, rounds: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Rates]:
    """All ways, so many rounds, beginning with another one each time."""
    found = {way.name: Rates() for way in ways}
    servers = _servers(lab, ways)
    try:
        for number in range(rounds):
            turn = number % len(ways)
            for way in [*ways[turn:], *ways[:turn]]:
                with contextmanager(way.prepared)():
                    found[way.name].tcp.append(_tcp(way, seconds))
                    found[way.name].udp.append(_udp(way, seconds))
            shown = ", ".join(
                f"{name} {rates.tcp[-1] / 1e9:.1f} Gbit/s {rates.udp[-1] / 1e3:.0f} k/s"
                for name, rates in found.items()
            )
            say(f"traffic round {number + 1} of {rounds}: {shown}")
    finally:
        for server in servers:
            server.end()
    return found


def as_it_is() -> Surrounding:
    """Nothing to prepare."""
    yield


def without_tables(nodes: list[Node]) -> Callable[[], Surrounding]:
    """Our nft table is gone meanwhile; the agents are stopped, or they would mend it."""

    def prepared() -> Surrounding:
        saved = [node.namespace.must("nft", "list", "table", *TABLE.split()) for node in nodes]
        for node in nodes:
            node.namespace.must("nft", "delete", "table", *TABLE.split())
        try:
            yield
        finally:
            for node, text in zip(nodes, saved, strict=True):
                node.namespace.run(["nft", "-f", "-"], stdin=text)

    return prepared


def by_hand_directly(
    one: bench_hand.HandNode, two: bench_hand.HandNode
) -> Callable[[], Surrounding]:
    """The hand-made pair talks without the tunnel meanwhile."""

    def prepared() -> Surrounding:
        bench_hand.direct(one, two, tunnel=False)
        try:
            yield
        finally:
            bench_hand.direct(one, two, tunnel=True)

    return prepared


def is_direct(node: Node, other: Node) -> bool:
    """Whether the other's pods are reached over the plain underlay."""
    routes = node.routes_to(other.subnet)
    return bool(routes) and routes[0].get("gateway") == other.address


def as_json(found: Mapping[str, Rates]) -> dict[str, dict[str, list[float]]]:
    """For the file."""
    return {name: {"tcp_bps": it.tcp, "udp_pps": it.udp} for name, it in found.items()}


# --- inside ----------------------------------------------------------------------------------------


def _servers(lab: Lab, ways: list[Way]) -> list[Daemon]:
    made = []
    for space in {way.server.name: way.server for way in ways}.values():
        words = space.inside(["iperf3", "--server", "--port", str(PORT)])
        daemon = Daemon(f"iperf3 in {space.name}", words, lab.work / "iperf3.log")
        lab.track(daemon)
        made.append(daemon)
        wait_for(
            lambda it=space: f":{PORT}" in it.run(["ss", "-Hltn"]).out,  # type: ignore[misc]
            "iperf3 listens",
            timeout_s=10,
        )
    return made


def _tcp(way: Way, seconds: float) -> float:
    end = _iperf3(way, seconds)["end"]
    return float(end["sum_received"]["bits_per_second"])


def _udp(way: Way, seconds: float) -> float:
    end = _iperf3(way, seconds, "--udp", "--bitrate", "0", "--length", str(SMALL))["end"]
    total = end["sum"]
    return float((total["packets"] - total["lost_packets"]) / total["seconds"])


def _iperf3(way: Way, seconds: float, *flags: str) -> dict[str, dict[str, dict[str, float]]]:
    words = ["iperf3", "--client", way.address, "--port", str(PORT), "--json", "--time"]
    said = way.client.run([*words, f"{seconds:g}", *flags])
    page: dict[str, dict[str, dict[str, float]]] = json.loads(said.out or "{}")
    if said.code != 0 or "error" in page:
        raise CommandFailed(f"iperf3 {way.name}: {page.get('error') or said.err}")
    return page
