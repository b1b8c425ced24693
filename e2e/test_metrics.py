"""/metrics, /healthz and /readyz of a real agent, from before its first lease to an etcd that hangs, and back."""

import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.metrics import catalogue
from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.process import Daemon

ALERTS = Path(__file__).parent.parent / "agent" / "files" / "overlay-alerts.yaml"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
_GET = """
import socket, sys
with socket.create_connection(("127.0.0.1", 10158), timeout=15) as door:
    door.sendall(f"GET {sys.argv[1]} HTTP/1.1\\r\\n\\r\\n".encode())
    sys.stdout.buffer.write(b"".join(iter(lambda: door.recv(65536), b"")))
"""

_FLOOD = """
import contextlib, socket
held = []
while True:
    with contextlib.suppress(OSError):
        door = socket.create_connection(("127.0.0.1", 10158), timeout=5)
        door.sendall(b"G")
        held = [*held[-900:], door]
"""

_PROMETHEUS = """
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: overlay-agent
    static_configs: [{{targets: ["127.0.0.1:10158"]}}]
  - job_name: prometheus
    static_configs: [{{targets: ["127.0.0.1:9090"]}}]
"""


TTL_S = 10
"""Of the lease: soon in doubt where etcd hangs, and not because a machine is busy."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A node whose etcd does not run yet."""
    with Lab() as made:
        made.add_node("n1", lease_ttl=f"{TTL_S}s", etcd_timeout="1s").start_agent()
        made.record()
        yield made


@pytest.fixture
def node(lab: Lab) -> Node:
    """The same, ready, whichever case comes first."""
    found = lab.nodes["n1"]
    if lab.etcd.pid is None:
        begin(lab)
    wait_for(partial(says, found, "/readyz", 200), "ready", timeout_s=60, also=found.log_tail)
    return found


def begin(lab: Lab) -> None:
    """Its etcd, with a network."""
    lab.etcd.start()
    lab.etcd.ctl("put", CONFIG_KEY, NETWORK)


def get(node: Node, path: str) -> tuple[int, str]:
    """The code and the body; 0 where nobody listens."""
    said = node.namespace.run([sys.executable, "-S", "-c", _GET, path])
    head, _, body = said.out.partition("\n\n")
    return int(head.split(" ")[1]) if head else 0, body


def says(node: Node, path: str, code: int, word: str = "") -> bool:
    """Whether a path answers so."""
    found = get(node, path)
    return found[0] == code and word in found[1]


Values = dict[tuple[str, ...], float]


def values(node: Node) -> Values:
    """Each sample by its name and the values of its labels, in their alphabetical order."""
    code, text = get(node, "/metrics")
    assert code == 200, text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def settled(node: Node, true_of: Callable[[Values], bool], what: str) -> Values:
    """The samples once that is true of them."""
    found: Values = {}

    def done() -> bool:
        found.clear()
        found.update(values(node))
        return true_of(found)

    wait_for(done, what, timeout_s=30, also=node.log_tail)
    return found


def test_health_and_readiness_mean_it(lab: Lab) -> None:
    """Waiting for etcd is healthy and not ready; the lease in doubt is neither ready nor a reason to restart.

    (The first case: etcd does not run before it.)
    """
    node = lab.nodes["n1"]
    ready = partial(says, node, "/readyz", 200)
    wait_for(partial(says, node, "/healthz", 200), "alive", timeout_s=20, also=node.log_tail)
    assert says(node, "/readyz", 503, "etcd")
    assert values(node)["overlay_ready",] == 0

    begin(lab)
    wait_for(ready, "ready", timeout_s=30, also=node.log_tail)
    lab.etcd.hang()
    try:
        refused = partial(says, node, "/readyz", 503, "lease was last renewed")
        wait_for(refused, "in doubt", timeout_s=40, also=lambda: str(get(node, "/readyz")))
        assert says(node, "/healthz", 200)
        found = settled(node, lambda it: it["overlay_etcd_connected",] == 0, "not connected")
        assert found["overlay_ready",] == 0
        assert found["overlay_etcd_outages_total",] >= 1
        assert found["overlay_watch_silent_seconds",] > 1
    finally:
        lab.etcd.resume()
    wait_for(ready, "ready again", timeout_s=60, also=node.log_tail)


def test_what_happens_is_counted(lab: Lab, node: Node) -> None:
    """A pod, its phases, addresses and the kernel's changes; nothing is exported that the catalogue does not have."""
    lab.add_pod(node)
    added = ("overlay_cni_request_duration_seconds_count", "ADD", "ok")
    well = ("overlay_verdict", "healthy")
    found = settled(node, lambda it: it.get(added) == it[well] == 1, "the pod counted, all well")
    names = {metric.name for metric in (*catalogue.METRICS, *catalogue.PROCESS)}

    assert found["overlay_attachments",] == 1
    assert found["overlay_cni_phase_duration_seconds_sum", "ADD", "ok", "veth"] > 0
    assert (found["overlay_addresses_used", "ipv4"], found["overlay_mtu_bytes",]) == (1, 1450)
    assert found["overlay_in_sync",] == 1
    assert found["overlay_lease_ttl_seconds",] == TTL_S
    assert 0 < found["overlay_lease_remaining_seconds",] <= TTL_S
    assert found["overlay_etcd_request_duration_seconds_count", "lease_grant"] >= 1
    assert found["overlay_kernel_steps_total", "add", "done"] > 5
    assert found["overlay_kernel_read_duration_seconds_count",] >= 1
    assert {name for name, *_ in found} <= names | {
        name + end for name in names for end in ("_bucket", "_sum", "_count")
    }
    node.namespace.ip("link del overlay.1")
    settled(
        node, lambda it: it.get(("overlay_drift_total", "device", "gone")) == 1, "the deed counted"
    )


def test_a_real_prometheus_reads_it_and_evaluates_the_rules(lab: Lab, node: Node) -> None:
    """Target up, samples there, every rule evaluated without an error."""
    page = node.work / "prometheus.yml"
    page.write_text(_PROMETHEUS.format(rules=ALERTS))
    words = ["prometheus", f"--config.file={page}", "--web.listen-address=127.0.0.1:9090"]
    words += [f"--storage.tsdb.path={node.work}/tsdb", "--log.level=warn"]
    server = Daemon("prometheus", node.namespace.inside(words), node.work / "prometheus.log")
    lab.track(server)

    def answers(question: str, word: str) -> bool:
        said = node.namespace.run(
            ["promtool", "query", "instant", "http://127.0.0.1:9090", question]
        )
        return word in said.out

    said = server.log.read_text
    wait_for(lambda: answers("up", "=> 1 @"), "the target", timeout_s=30, also=said)
    wait_for(lambda: answers("overlay_ready", "=> 1 @"), "a sample", timeout_s=30, also=said)
    evaluated = "sum(prometheus_rule_evaluations_total)"
    wait_for(lambda: answers(f"{evaluated} > 20", "=>"), "the rules", timeout_s=30, also=said)
    assert answers("sum(prometheus_rule_evaluation_failures_total)", "=> 0 @"), said()
    server.end()


def test_a_flood_of_strangers_does_not_reach_the_pods(lab: Lab, node: Node) -> None:
    """A thousand connections that say a letter and no more, again and again: a pod is attached, health is answered.

    Who has not asked within a tenth of a second may be sent away, which a busy machine does to an honest one, too.
    """
    words = node.namespace.inside([sys.executable, "-S", "-c", _FLOOD])
    flood = Daemon("flood", words, node.work / "flood.log")
    lab.track(flood)
    try:
        wait_for(lambda: turned_away(node) > 1000, "a flood", timeout_s=60)
        assert lab.add_pod(node).addresses
        for path in ("/healthz", "/readyz"):
            wait_for(partial(says, node, path, 200), path, timeout_s=20, also=node.log_tail)
        assert flood.alive
        descriptors = len(list(Path(f"/proc/{node.pid}/fd").iterdir()))
        assert descriptors < 200
    finally:
        flood.end(signal.SIGKILL)


def turned_away(node: Node) -> float:
    """How many callers, 0 if this one was."""
    name = "overlay_http_turned_away_total "
    lines = [line for line in get(node, "/metrics")[1].splitlines() if line.startswith(name)]
    return float(lines[0].removeprefix(name)) if lines else 0.0


def test_an_address_that_cannot_be_had_is_a_notice_and_never_the_end(lab: Lab, node: Node) -> None:
    """Taken by SIGHUP: the old door is closed, the status says why there is no new one, and pods are attached.

    (The last case: nobody hears of it by that door again.)
    """
    node.configure(metrics_listen="192.0.2.250:10158")
    node.send(signal.SIGHUP)
    wait_for(
        lambda: any("192.0.2.250:10158" in text for text in node.status()["notices"]),
        "the notice",
        timeout_s=20,
        also=node.log_tail,
    )

    assert get(node, "/healthz")[0] == 0
    assert "192.0.2.250:10158" in node.log_text()
    lab.add_pod(node)
