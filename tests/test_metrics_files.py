"""Dashboard, alerts and documentation of the metrics: held to what is exported, and read by Prometheus' own tool."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.ctl.verbs import VERBS
from agent.metrics import catalogue
from agent.metrics.catalogue import HISTOGRAM, SUMMARY, Metric

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "agent" / "files"
ALERTS = (FILES / "overlay-alerts.yaml").read_text()
BY_PROMETHEUS = {"instance", "job"}
KNOWN = {metric.name: metric for metric in (*catalogue.METRICS, *catalogue.PROCESS)}
_NAME = re.compile(r"\b(?:overlay|process)_\w+|\bup\b")
_MATCHERS = re.compile(r"(\w+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")


def _dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / "overlay-dashboard.json").read_text())
    return found


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in _dashboard()["panels"] if panel["type"] != "row"]


def _of_alerts() -> list[str]:
    return re.findall(r"^ +expr: (.+)$", ALERTS, re.MULTILINE)


def of_dashboard() -> list[str]:
    return [target["expr"] for panel in _panels() for target in panel["targets"]]


def _strangers(expression: str) -> Iterator[str]:
    """Names and labels in an expression that nothing exports."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    metrics = [it for name in _NAME.findall(bare) if (it := _metric(name))]
    yield from (name for name in _NAME.findall(bare) if _metric(name) is None)
    for name, matchers in _MATCHERS.findall(bare):
        metric = _metric(name)
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        yield from (f"{name}: {it}" for it in labels - BY_PROMETHEUS - _labels(metric))
    everywhere = set().union(*(_labels(metric) for metric in metrics))
    for words in _GROUPED.findall(bare):
        yield from set(re.findall(r"\w+", words)) - BY_PROMETHEUS - everywhere


def _metric(name: str) -> Metric | None:
    if name == "up":
        return Metric("up", "gauge", "")
    if name in KNOWN:
        return KNOWN[name] if KNOWN[name].kind not in (HISTOGRAM, SUMMARY) else None
    base, _, end = name.rpartition("_")
    found = KNOWN.get(base)
    ends = {HISTOGRAM: ("bucket", "sum", "count"), SUMMARY: ("sum", "count")}
    return found if found and end in ends.get(found.kind, ()) else None


def _labels(metric: Metric | None) -> set[str]:
    if metric is None:
        return set()
    return {*metric.labels, *(["le"] if metric.kind == HISTOGRAM else [])}


@pytest.mark.parametrize("expression", [*_of_alerts(), *of_dashboard()])
def test_an_expression_names_only_what_is_exported(expression: str) -> None:
    """Metrics, their labels in matchers, and labels that are grouped by."""
    assert not list(_strangers(expression))


def test_a_stranger_would_be_noticed() -> None:
    """The check above can fail: a name, a matcher, a group."""
    assert list(_strangers("overlay_nonsense > 0")) == ["overlay_nonsense"]
    assert list(_strangers('overlay_peers{colour="red"}')) == ["overlay_peers: colour"]
    assert list(_strangers("sum by (colour) (overlay_peers)")) == ["colour"]
    assert list(_strangers("overlay_loop_round_duration_seconds > 0"))


def test_every_metric_of_a_problem_has_an_alert_or_a_panel() -> None:
    """What nobody looks at need not be exported."""
    seen = " ".join([*_of_alerts(), *of_dashboard(), "overlay_node_info"])
    forgotten = {
        name for name in KNOWN if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", seen)
    }

    assert forgotten <= {
        "overlay_facts_age_seconds",
        "overlay_watch_revision",
        "overlay_http_requests_total",
        "overlay_http_turned_away_total",
        "overlay_kernel_changes_total",
        "overlay_mended_steps_total",
        "overlay_pods_mended_total",
        "overlay_leftovers_removed_total",
        "overlay_in_sync",
        "overlay_probe_peer_rtt_seconds",
        "overlay_probe_peer_largest_packet_bytes",
        "process_max_fds",
        "process_virtual_memory_bytes",
    }


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    """Summary, description, and a command; overlayctl's verbs in it exist."""
    alerts = re.split(r"^ +- alert: ", ALERTS, flags=re.MULTILINE)[1:]
    verbs = {row.name for row in VERBS}
    for text in alerts:
        name = text.partition("\n")[0]
        for key in ("summary", "description", "runbook"):
            assert re.search(rf'^ +{key}: "[^"]+"$', text, re.MULTILINE), f"{name} has no {key}"
        runbook = re.search(r'runbook: "(.*)"', text)
        assert runbook
        asked = set(re.findall(r"overlayctl (\w+)", runbook[1]))
        assert asked or "journalctl" in runbook[1], name
        assert asked <= verbs, f"{name}: {asked - verbs}"


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Unique ids, a grid without overlaps, data source and nodes as variables, a title and a description each."""
    page = _dashboard()
    panels = page["panels"]
    names = {one["name"]: one["type"] for one in page["templating"]["list"]}
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert names == {"datasource": "datasource", "node": "query"}
    assert page["schemaVersion"] >= 36
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    for panel in _panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [it["refId"] for it in panel["targets"]] == sorted(
            {it["refId"] for it in panel["targets"]}
        )


def test_the_documentation_has_every_metric() -> None:
    """docs/metrics.md says of each what the catalogue says."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, -]+) \| (.+) \|$", text, re.MULTILINE)
    told = {(it.name, it.kind, ", ".join(it.labels) or "-", it.help) for it in KNOWN.values()}

    assert set(rows) == told
