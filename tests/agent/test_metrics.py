"""metrics: what is exported is what the catalogue says; counting is bounded; a loop that hangs holds up no scrape."""

import threading
from collections.abc import Iterator
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from agent.events import Snapshot
from agent.loop import Loop
from agent.metrics import catalogue, facts, samples
from agent.metrics.latest import Latest
from agent.metrics.meteredkernel import MeteredKernel
from agent.metrics.meters import BUCKETS, MOST_SERIES, Meters, Spread, Tally
from agent.metrics.page import Page
from agent.metrics.samples import Lease, View
from agent.reconcile import Reconciler
from cni.steps import Steps
from overlay.errors import KernelBusy
from overlay.model import Action, Route, Step
from overlay.wanted import NODE
from tests.agent.one_node import Node, lease, snapshot
from tests.examples import ME, NETWORK


def probe(key: str, **more: object) -> dict[str, object]:
    """A row of agent.probes."""
    blank = {"node": f"n-{key}", "family": 4, "sent": 10, "lost": 0, "rtt_ms": 0.5}
    return {"key": key, **blank, "largest": 1450, "full": 1450, "state": "ok", **more}


def view(**more: object) -> View:
    """A node of which everything is known."""
    known: dict[str, object] = {
        "node": "n1",
        "instance": "",
        "version": "0.1.0",
        "python": "3.11.2",
        "facts": facts.Facts(
            "healthy", True, 1450, "eth0", {"ok": 3}, drift={("route", "gone"): 2}
        ),
        "facts_age_s": 0.0,
        "silent_s": 1.0,
        "ready": True,
        "ailing": False,
        "lease": Lease("10.5.1.0-24", 60.0, 20.0),
        "etcd_connected": True,
        "outages": 0,
        "store_trouble": False,
        "watch_silent_s": 2.0,
        "watch_revision": 7,
        "etcd_revision": 9,
        "pods": {"faults": {}, "mended": 1, "collected": 2},
        "attachments": 4,
        "addresses": {"ipv4": (4, 249)},
        "probes": [probe("a"), probe("b", state="black hole", lost=5, largest=1300)],
    }
    return View(**{**known, **more})  # type: ignore[arg-type]


def exported(meters: Meters, seen: View) -> dict[str, tuple[str, list[dict[str, str]]]]:
    """Kind and labels by name, as Prometheus' own parser reads the page."""
    text, _ = Page(lambda: samples.samples(seen), meters).text()
    found: dict[str, tuple[str, list[dict[str, str]]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, [dict(sample.labels) for sample in family.samples])
    return found


def used() -> Meters:
    """Meters that have all counted something."""
    meters, kernel = Meters(), Node().kernel
    route = next(it for it in _wanted() if isinstance(it, Route))
    metered = MeteredKernel(kernel, meters)
    metered.apply([Step(Action.ADD, route)])
    metered.read({})
    meters.rounds.add(0.01)
    meters.etcd("LeaseGrant", 0.002, "StoreUnavailable", 5)
    meters.cni({"CNI_COMMAND": "ADD"}, Steps(), 1, b'{"code": 11}')
    meters.http.add("/metrics", "200")
    meters.turned_away.add()
    return meters


def _wanted() -> Iterator[object]:
    node = Node()
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(2))
    node.settle()
    yield from node.kernel.state.values()


def test_what_is_exported_is_what_the_catalogue_says() -> None:
    """By name, kind and labels, in both directions: dashboards and alerts are written against the catalogue."""
    found = exported(used(), view())
    rows = (*catalogue.METRICS, *catalogue.PROCESS)

    assert {name: kind for name, (kind, _) in found.items()} == {it.name: it.kind for it in rows}
    for metric in rows:
        for labels in found[metric.name][1]:
            assert labels.keys() - {"le"} == set(metric.labels), metric.name


def test_names_keep_to_the_conventions() -> None:
    """A prefix, a base unit, and _total for what only grows."""
    for metric in catalogue.METRICS:
        assert metric.name.startswith("overlay_")
        assert metric.name.endswith("_total") is (metric.kind == catalogue.COUNTER), metric.name
        assert not metric.name.endswith(("_ms", "_milliseconds", "_percent", "_kb")), metric.name
        assert metric.help.endswith("."), metric.name
        assert not {"instance", "job"} & set(metric.labels), "Prometheus has labels of these names"


def test_before_the_loop_has_ever_answered_what_else_is_known_is_told() -> None:
    """And nothing is made up: no verdict, no peers."""
    found = exported(Meters(), view(facts=None, lease=None, watch_silent_s=None))

    assert {"overlay_loop_last_round_seconds", "overlay_lease_held"} <= found.keys()
    assert not {"overlay_verdict", "overlay_peers", "overlay_watch_revision"} & found.keys()


def test_only_the_worst_peers_have_series_of_their_own() -> None:
    """At 5,000 peers a scrape stays small; two nodes of one name do not become one series."""
    results = [probe(f"k{i}", node="same", state="silent", lost=10, largest=0) for i in range(5000)]
    rows = list(samples.samples(view(probes=[*results, probe("fine")])))
    own = [labels for name, labels, _ in rows if name == "overlay_probe_peer_loss_ratio"]

    assert len(own) == len(set(own)) == catalogue.MOST_PROBED
    assert ("overlay_probe_peers", ("ipv4", "silent"), 5000) in rows


def test_labels_from_elsewhere_cannot_make_series_without_end() -> None:
    """A verb, a phase, a code: whatever comes, there are so many and then "other"."""
    tally, spread = Tally(), Spread()
    for number in range(3 * MOST_SERIES):
        tally.add(str(number), "x")
        spread.add(0.1, str(number))

    assert len(tally.read()) == len(spread.read()) == MOST_SERIES + 1
    assert tally.read()["other", "other"] == 2 * MOST_SERIES


def test_a_histogram_counts_each_observation_once_and_cumulates() -> None:
    """A value on a bound belongs to that bucket."""
    spread = Spread()
    for seconds in (0.0005, 0.003, 100.0):
        spread.add(seconds)
    (reading,) = spread.read()
    found = dict(reading.cumulative())

    assert (found["0.0005"], found["0.005"], found["60"], found["+Inf"]) == (1, 2, 2, 3)
    assert len(found) == len(BUCKETS) + 1


def test_a_cni_request_is_counted_by_verb_result_and_phase() -> None:
    """A verb that is none of CNI's is "other"; a refusal has its code."""
    meters, steps = Meters(), Steps()
    steps.at("lock")
    meters.cni({"CNI_COMMAND": "ADD"}, steps, 0, b"{}")
    meters.cni({"CNI_COMMAND": "x" * 99}, Steps(), 1, b"not JSON")
    phases = {it.labels for it in meters.phases.read()}

    assert {("ADD", "start", "ok"), ("ADD", "lock", "ok")} <= phases
    assert {it.labels for it in meters.requests.read()} == {("ADD", "ok"), ("other", "error")}
    assert meters.cni_errors.read() == {("other", "0"): 1}


def test_each_peer_is_counted_in_one_state() -> None:
    """One that fails, one that contradicts an older one, the rest."""
    node = Node()
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(2))
    node.settle()
    others = replace(lease(5), backend="udp")
    node.reconciler.on_event(Snapshot({**snapshot(2, 3, 4).leases, others.key: others}, {}, 11))
    item = next(it for it in node.reconciler.demand.wanted.want.values() if "10.5.3.0" in str(it))
    node.kernel.fail_next[item.key] = KernelBusy("busy")
    node.reconciler.tick()
    found = facts.peers_by_state(node.reconciler)

    assert NODE not in node.reconciler.trouble()
    assert (found["ok"], found["failing"], found["not served"]) == (2, 1, 1)
    assert sum(found.values()) == 4


def test_a_loop_that_hangs_is_down_whatever_it_said_last() -> None:
    """As overlayctl status says it, which gets no answer."""
    rows = {
        name + "".join(labels): value for name, labels, value in samples.samples(view(ailing=True))
    }
    assert (rows["overlay_verdictdown"], rows["overlay_verdicthealthy"]) == (1, 0)


def test_a_loop_that_hangs_holds_up_no_scrape() -> None:
    """What it said last has to do; it is asked once however many scrape, and answers when it comes back."""
    loop = Loop(Node().reconciler, round_s=0.05, after_round=lambda _: None)
    asked: list[Reconciler] = []
    hang, hangs = threading.Event(), threading.Event()

    def gather(reconciler: Reconciler) -> int:
        asked.append(reconciler)
        return len(asked)

    def block(_: Reconciler) -> None:
        hangs.set()
        hang.wait(20)

    latest = Latest(loop.post, gather)
    loop.start()
    try:
        assert latest.get(wait_s=20)[0] == 1
        loop.post(block)
        assert hangs.wait(20)
        assert [latest.get(wait_s=0.0)[0] for _ in range(50)] == [1] * 50
        hang.set()
        assert loop.ask(lambda _: "caught up", timeout_s=20) == "caught up"
        assert len(asked) == 2, "one question was waiting, not fifty"
    finally:
        hang.set()
        loop.stop()
        loop.join(20)


def test_a_question_that_fails_does_not_end_the_loop() -> None:
    """A bug in the metrics must not take the agent with it."""
    loop = Loop(Node().reconciler, round_s=0.05, after_round=lambda _: None)
    latest: Latest[float] = Latest(loop.post, lambda _: 1 / 0)
    loop.start()
    try:
        assert latest.get(wait_s=20) == (None, 0.0)
        assert loop.ask(lambda _: "lives", timeout_s=20) == "lives"
    finally:
        loop.stop()
        loop.join(20)
