"""Page, alerts and dashboard of the metrics, read and evaluated by Prometheus' own tool."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from agent.metrics import samples
from agent.metrics.catalogue import GAUGE, HISTOGRAM, SUMMARY
from agent.metrics.page import Page
from tests.agent.test_metrics import used, view
from tests.test_metrics_files import FILES, KNOWN, of_dashboard


def _promtool(*words: str | Path, read: bytes = b"") -> bytes:
    """What it said of a file, or of ``read``."""
    tool = shutil.which("promtool")
    assert tool, "promtool is missing (make setup)"
    command = [tool, *map(str, words)]
    done = subprocess.run(command, input=read, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), (done.stdout + done.stderr).decode()
    return done.stdout


def test_prometheus_finds_no_fault_with_the_page() -> None:
    """Its own linter: names, units, help texts, types."""
    text, _ = Page(lambda: samples.samples(view()), used()).text()
    assert _promtool("check", "metrics", read=text) == b""


def test_prometheus_reads_the_rules(tmp_path: Path) -> None:
    """The alerts as they are, and the dashboard's expressions with its variables filled in."""
    _promtool("check", "rules", FILES / "overlay-alerts.yaml")
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    for number, text in enumerate(of_dashboard()):
        filled = text.replace("$node", ".+").replace("$__rate_interval", "5m")
        lines += [f"      - record: p{number}", f"        expr: {json.dumps(filled)}"]
    rules = tmp_path / "dashboard.yaml"
    rules.write_text("\n".join(lines) + "\n")
    _promtool("check", "rules", rules)


_EXAMPLES = {
    "verdict": ("healthy", "degraded", "down"),
    "verb": ("ADD", "DEL"),
    "family": ("ipv4", "ipv6"),
    "state": ("failing", "ok", "black hole"),
}


def _series() -> Iterator[tuple[str, str]]:
    """Of every metric: instance a is 1 or counts up, b stays at 0; labels as they are exported."""
    for metric in KNOWN.values():
        ends = {HISTOGRAM: ("_bucket", "_sum", "_count"), SUMMARY: ("_sum", "_count")}
        for end in ends.get(metric.kind, ("",)):
            names = [*metric.labels, *(["le"] if end == "_bucket" else [])]
            choices = [
                _EXAMPLES.get(name, ("0.1", "+Inf") if name == "le" else ("x",)) for name in names
            ]
            for instance, values in (
                ("a", "1x20" if metric.kind == GAUGE else "0+1x20"),
                ("b", "0x20"),
            ):
                for chosen in itertools.product(*choices):
                    labels = {"job": "overlay-agent", "instance": instance}
                    labels |= dict(zip(names, chosen, strict=True))
                    said = ", ".join(f'{name}="{value}"' for name, value in labels.items())
                    yield f"{metric.name}{end}{{{said}}}", values


def test_every_panel_shows_something(tmp_path: Path) -> None:
    """Names may all be right, and the two sides of a minus never meet: evaluated by Prometheus itself."""
    asked = [it.replace("$node", ".+").replace("$__rate_interval", "5m") for it in of_dashboard()]
    rows = [{"series": name, "values": values} for name, values in _series()]
    tests = [
        {
            "expr": f"count({it}) > bool 0",
            "eval_time": "15m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for it in asked
    ]
    page = {"interval": "1m", "input_series": rows, "promql_expr_test": tests}
    test = tmp_path / "test.yaml"
    test.write_text(json.dumps({"evaluation_interval": "1m", "tests": [page]}))
    _promtool("test", "rules", test)


def test_an_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    """A lease that is not renewed; a hung loop; a node in order."""
    test = tmp_path / "test.yaml"
    test.write_text(
        f"""
rule_files: ["{FILES / "overlay-alerts.yaml"}"]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'overlay_lease_ttl_seconds{{instance="a"}}'
        values: '3600x30'
      - series: 'overlay_lease_remaining_seconds{{instance="a"}}'
        values: '3600-120x30'
      - series: 'overlay_loop_last_round_seconds{{instance="b"}}'
        values: '1 1 1 60 120 180'
      - series: 'overlay_watch_revisions_behind{{instance="new"}}'
        values: '5 3 0x28'
      - series: 'overlay_watch_revisions_behind{{instance="deaf"}}'
        values: '5x30'
    alert_rule_test:
      - {{eval_time: 1m, alertname: OverlayWatchBehind, exp_alerts: []}}
      - eval_time: 12m
        alertname: OverlayWatchBehind
        exp_alerts:
          - exp_labels: {{severity: warning, instance: deaf}}
            exp_annotations:
              summary: "The watch of deaf is 5 revisions behind etcd"
              description: "The stream lives but does not keep up."
              runbook: "overlayctl etcd; overlayctl peers"
      - {{eval_time: 20m, alertname: OverlayLeaseRunsOut, exp_alerts: []}}
      - {{eval_time: 2m, alertname: OverlayLoopHangs, exp_alerts: []}}
      - eval_time: 24m
        alertname: OverlayLeaseRunsOut
        exp_alerts:
          - exp_labels: {{severity: critical, instance: a}}
            exp_annotations:
              summary: "The subnet lease of a ends in 12m 0s"
              description: "It is renewed when a third of its TTL has passed; renewals do not reach etcd."
              runbook: "overlayctl etcd"
"""
    )
    _promtool("test", "rules", test)
