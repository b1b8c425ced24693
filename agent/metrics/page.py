"""The page that Prometheus reads, in its text format. prometheus_client is imported by the first one who asks.

However many ask, there is one page a second at most: to ask often costs the agent nothing.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from agent.metrics import catalogue
from agent.metrics.catalogue import Metric
from agent.metrics.meters import Meters, Reading
from agent.metrics.samples import Row

FRESH_S = 1.0
Rows = Callable[[], Iterable[Row]]


class Page:
    """``rows`` are asked for each page that is made. Thread-safe."""

    def __init__(self, rows: Rows, meters: Meters, *, fresh_s: float = FRESH_S) -> None:
        self._rows, self._meters, self._fresh_s = rows, meters, fresh_s
        self._lock = threading.Lock()
        self._made_at = float("-inf")
        self._text = (b"", "")

    def text(self) -> tuple[bytes, str]:
        """The page and its content type."""
        with self._lock:
            if time.monotonic() - self._made_at >= self._fresh_s:
                self._text = self._render()
                self._made_at = time.monotonic()
            return self._text

    def _render(self) -> tuple[bytes, str]:
        import prometheus_client as library

        registry = library.CollectorRegistry(auto_describe=False)
        library.ProcessCollector(registry=registry)
        registry.register(_Ours(list(self._all())))  # type: ignore[arg-type]
        return library.generate_latest(registry), library.CONTENT_TYPE_LATEST

    def _all(self) -> Iterator[object]:
        rows: dict[str, list[tuple[tuple[str, ...], float]]] = {}
        for name, labels, value in self._rows():
            rows.setdefault(name, []).append((labels, value))
        for name, tally in self._meters.tallies().items():
            rows[name] = [(labels, count) for labels, count in tally.read().items()]
        spreads = {name: spread.read() for name, spread in self._meters.spreads().items()}
        for metric in catalogue.METRICS:
            if metric.name in spreads:
                yield _spread(metric, spreads[metric.name])
            elif rows.get(metric.name):
                yield _plain(metric, rows[metric.name])


class _Ours:
    """What the library calls a collector."""

    def __init__(self, families: list[object]) -> None:
        self._families = families

    def collect(self) -> list[object]:
        return self._families


def _plain(metric: Metric, rows: Sequence[tuple[tuple[str, ...], float]]) -> object:
    from prometheus_client import metrics_core

    make = (
        metrics_core.CounterMetricFamily
        if metric.kind == catalogue.COUNTER
        else metrics_core.GaugeMetricFamily
    )
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, float(value))
    return family


def _spread(metric: Metric, readings: Sequence[Reading]) -> object:
    from prometheus_client import metrics_core

    if metric.kind == catalogue.SUMMARY:
        summary = metrics_core.SummaryMetricFamily(metric.name, metric.help, labels=metric.labels)
        for it in readings:
            summary.add_metric(it.labels, it.count, it.sum)
        return summary
    family = metrics_core.HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for it in readings:
        family.add_metric(it.labels, list(it.cumulative()), it.sum)
    return family
