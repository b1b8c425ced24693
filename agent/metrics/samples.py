"""From what the agent knows to the values of its metrics. Pure: `View` has it all, `samples` are the rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.metrics.catalogue import MOST_PROBED
from agent.metrics.facts import Facts
from agent.printable import printable

DOWN = "down"
VERDICTS = ("healthy", "degraded", DOWN)
LONGEST_LABEL = 253
Row = tuple[str, tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Lease:
    """What is held; ``ttl_s`` of 0 never ends."""

    key: str
    ttl_s: float
    age_s: float


@dataclass(frozen=True, slots=True)
class View:
    """One moment. ``facts`` are the loop's last answer and ``facts_age_s`` its age; None before the first one."""

    node: str
    instance: str
    version: str
    python: str
    facts: Facts | None
    facts_age_s: float
    silent_s: float
    ready: bool
    ailing: bool
    """As /healthz says it: then no agent would answer ``status``, whatever the loop said last."""
    lease: Lease | None
    etcd_connected: bool
    outages: int
    store_trouble: bool
    watch_silent_s: float | None
    watch_revision: int
    etcd_revision: int
    pods: Mapping[str, Any]
    attachments: int
    addresses: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By family: used, free."""
    probes: Sequence[Mapping[str, Any]] = ()
    """Each as agent.probes.Result."""


def samples(view: View) -> Iterator[Row]:
    """All rows but those of the meters."""
    yield from _node(view)
    yield from _store(view)
    yield from _kernel(view)
    yield from _pods(view)
    yield from _probes(view.probes)


def _node(view: View) -> Iterator[Row]:
    facts = view.facts
    yield "overlay_build_info", (view.version, view.python), 1
    lease = view.lease.key if view.lease else ""
    who = (view.node, view.instance, lease, facts.underlay if facts else "")
    yield "overlay_node_info", who, 1
    yield "overlay_ready", (), view.ready
    yield "overlay_loop_last_round_seconds", (), view.silent_s
    if facts is None:
        return
    yield "overlay_facts_age_seconds", (), view.facts_age_s
    verdict = DOWN if view.ailing else facts.verdict
    for word in VERDICTS:
        yield "overlay_verdict", (word,), word == verdict
    yield "overlay_in_sync", (), facts.in_sync
    if facts.mtu:
        yield "overlay_mtu_bytes", (), facts.mtu
    for state, count in facts.peers.items():
        yield "overlay_peers", (state,), count


def _store(view: View) -> Iterator[Row]:
    lease = view.lease
    yield "overlay_lease_held", (), lease is not None
    if lease is not None:
        yield "overlay_lease_ttl_seconds", (), lease.ttl_s
        if lease.ttl_s:
            yield "overlay_lease_remaining_seconds", (), max(0.0, lease.ttl_s - lease.age_s)
    yield "overlay_etcd_connected", (), view.etcd_connected
    yield "overlay_etcd_outages_total", (), view.outages
    yield "overlay_etcd_store_trouble", (), view.store_trouble
    if view.watch_silent_s is not None:
        yield "overlay_watch_silent_seconds", (), view.watch_silent_s
        yield "overlay_watch_revision", (), view.watch_revision
        behind = max(0, view.etcd_revision - view.watch_revision)
        yield "overlay_watch_revisions_behind", (), behind


def _kernel(view: View) -> Iterator[Row]:
    facts = view.facts
    if facts is None:
        return
    yield "overlay_kernel_changes_total", (), facts.changes
    yield "overlay_mended_steps_total", (), facts.mended
    yield "overlay_fights", (), facts.fights
    for labels, count in facts.drift.items():
        yield "overlay_drift_total", labels, count


def _pods(view: View) -> Iterator[Row]:
    yield "overlay_attachments", (), view.attachments
    yield "overlay_attachments_faulty", (), len(view.pods["faults"])
    yield "overlay_pods_mended_total", (), view.pods["mended"]
    yield "overlay_leftovers_removed_total", (), view.pods["collected"]
    for family, (used, free) in view.addresses.items():
        yield "overlay_addresses_used", (family,), used
        yield "overlay_addresses_free", (family,), free


def _probes(results: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for number in sorted({int(it["family"]) for it in results}):
        of_family, family = [it for it in results if it["family"] == number], f"ipv{number}"
        states = [str(it["state"]) for it in of_family]
        for state in sorted(set(states)):
            yield "overlay_probe_peers", (family, state), states.count(state)
        if sent := sum(it["sent"] for it in of_family):
            yield "overlay_probe_loss_ratio", (family,), sum(it["lost"] for it in of_family) / sent
        if times := [it["rtt_ms"] / 1000 for it in of_family if it["rtt_ms"]]:
            yield "overlay_probe_rtt_median_seconds", (family,), _median(times)
            yield "overlay_probe_rtt_worst_seconds", (family,), max(times)
        if sizes := [it["largest"] for it in of_family if it["largest"]]:
            yield "overlay_probe_smallest_path_bytes", (family,), min(sizes)
    for result in worst(results):
        yield from _probed(result)


def _median(values: Sequence[float]) -> float:
    """Of any; the module statistics costs a megabyte and 2 ms at each start."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def worst(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are not ok, at most MOST_PROBED: who loses most first, then who fits least."""
    found = [it for it in results if it["state"] not in ("ok", "unknown")]
    found.sort(key=lambda it: (-_loss(it), it["largest"], str(it["node"]), str(it["key"])))
    return found[:MOST_PROBED]


def _loss(result: Mapping[str, Any]) -> float:
    return float(result["lost"] / result["sent"]) if result["sent"] else 0.0


def _probed(result: Mapping[str, Any]) -> Iterator[Row]:
    texts = (result["node"] or "-", result["key"], f"ipv{result['family']}", result["state"])
    labels = tuple(printable(str(text), LONGEST_LABEL) for text in texts)
    yield "overlay_probe_peer_loss_ratio", labels, _loss(result)
    if result["rtt_ms"]:
        yield "overlay_probe_peer_rtt_seconds", labels, result["rtt_ms"] / 1000
    yield "overlay_probe_peer_largest_packet_bytes", labels, result["largest"]
