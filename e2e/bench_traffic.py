"""Pod-to-pod throughput: iperf3 over our overlay, over the same devices made by hand, and directly.

All ways are measured in turn, round by round, in one run: what disturbs the machine disturbs all of them. Our nft
tables are taken away for one of the ways, with the agents stopped, and put back after it.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
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
BUSY, TRIES = "the server is busy", 25
"""On a busy machine it has not done with the one before yet."""


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


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Round by round; one that was cut short does not count."""
    return [one / other for one, other in zip(ones, others, strict=False)]


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, and how long each: whole seconds, iperf3 reads no others."""

    rounds: int
    seconds: int


def measure(
    lab: Lab, ways: list[Way], found: dict[str, Rates], plan: Plan, say: Callable[[str], None]
) -> None:
    """All ways, so many rounds, beginning with another one each time; ``found`` is filled on the way."""
    found.update((way.name, Rates()) for way in ways)
    servers = _servers(lab, ways)
    try:
        for number in range(plan.rounds):
            turn = number % len(ways)
            for way in [*ways[turn:], *ways[:turn]]:
                with contextmanager(way.prepared)():
                    found[way.name].tcp.append(_tcp(way, plan.seconds))
                    found[way.name].udp.append(_udp(way, plan.seconds))
            shown = ", ".join(
                f"{name} {rates.tcp[-1] / 1e9:.1f} Gbit/s {rates.udp[-1] / 1e3:.0f} k/s"
                for name, rates in found.items()
            )
            say(f"traffic round {number + 1} of {plan.rounds}: {shown}")
    finally:
        for server in servers:
            server.end()


def as_it_is() -> Surrounding:
    """Nothing to prepare."""
    yield


def without_tables(nodes: Sequence[Node]) -> Callable[[], Surrounding]:
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


def by_hand(
    hands: tuple[bench_hand.HandNode, bench_hand.HandNode], *, masquerade: bool, tunnel: bool = True
) -> Callable[[], Surrounding]:
    """The hand-made pair with a rule that masquerades meanwhile, or without the tunnel."""

    def prepared() -> Surrounding:
        if not tunnel:
            bench_hand.direct(*hands, tunnel=False)
        try:
            if masquerade:
                bench_hand.masquerade(hands, on=True)
            yield
        finally:
            if masquerade:
                bench_hand.masquerade(hands, on=False)
            if not tunnel:
                bench_hand.direct(*hands, tunnel=True)

    return prepared


def is_direct(node: Node, other: Node) -> bool:
    """Whether the other's pods are reached over the plain underlay."""
    routes = node.routes_to(other.subnet)
    return bool(routes) and routes[0].get("gateway") == other.address


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
            also=(lab.work / "iperf3.log").read_text,
        )
    return made


def _tcp(way: Way, seconds: int) -> float:
    end = _iperf3(way, seconds)["end"]
    return float(end["sum_received"]["bits_per_second"])


def _udp(way: Way, seconds: int) -> float:
    end = _iperf3(way, seconds, "--udp", "--bitrate", "0", "--length", str(SMALL))["end"]
    total = end["sum"]
    return float((total["packets"] - total["lost_packets"]) / total["seconds"])


def _iperf3(way: Way, seconds: int, *flags: str) -> dict[str, dict[str, dict[str, float]]]:
    words = ["iperf3", "--client", way.address, "--port", str(PORT), "--json", "--time"]
    for _ in range(TRIES):
        said = way.client.run([*words, str(seconds), *flags])
        page: dict[str, dict[str, dict[str, float]]] = json.loads(said.out or "{}")
        if BUSY not in str(page.get("error")):
            break
        time.sleep(0.2)
    if said.code != 0 or "error" in page:
        raise CommandFailed(f"iperf3 {way.name}: {page.get('error') or said.err}")
    return page
