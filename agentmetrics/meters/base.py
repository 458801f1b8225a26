"""What meters are made of: catalogue rows as instruments of one recorder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentmetrics.catalog import LATENCY_BUCKETS
from agentmetrics.recording.instruments import Counter, Gauge, Histogram, Instrument, Observed
from agentmetrics.recording.layers.cardinality import MAX_SERIES
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder


class Instruments:
    """Instruments of one recorder, with the labels and buckets that its pipeline's options say.

    A meter makes its own in ``__init__(self, make: Instruments)`` and keeps them.
    """

    def __init__(
        self,
        recorder: Recorder,
        extra_labels: tuple[str, ...] = (),
        latency_buckets: tuple[float, ...] | None = None,
        buckets: Mapping[str, tuple[float, ...]] | None = None,
        max_series: int = MAX_SERIES,
    ) -> None:
        self.recorder = recorder
        self.extra_labels = extra_labels
        self.max_series = max_series
        self._latency_buckets, self._buckets = latency_buckets, buckets or {}

    def shaped(self, metric: Metric) -> Metric:
        """The row with the extra labels, if it is ``extended``, and the latency buckets in use."""
        if metric.extended:
            metric = metric.with_labels(self.extra_labels)
        if metric.name in self._buckets:
            return replace(metric, buckets=self._buckets[metric.name])
        if self._latency_buckets and metric.buckets == LATENCY_BUCKETS:
            metric = replace(metric, buckets=self._latency_buckets)
        return metric

    def named(self, extra: Sequence[str]) -> dict[str, str]:
        """The values of the extra labels by name, as ``labels(**…)`` takes them."""
        return dict(zip(self.extra_labels, extra, strict=False))

    def keeps(self, instrument: Instrument[Any], values: tuple[str, ...]) -> bool:
        """Whether clean label values have a series of their own, which the cardinality limit
        decides."""
        return self.recorder.keeps(instrument.metric, values)

    def counter(self, metric: Metric) -> Counter:
        return self.recorder.counter(self.shaped(metric))

    def gauge(self, metric: Metric) -> Gauge:
        return self.recorder.gauge(self.shaped(metric))

    def histogram(self, metric: Metric) -> Histogram:
        return self.recorder.histogram(self.shaped(metric))

    def observe(self, metric: Metric, callback: Callable[[], Observed]) -> None:
        """Read a gauge from ``callback`` at every collection."""
        self.recorder.observe_gauge(self.shaped(metric), callback)

    def declare(self, metric: Metric) -> None:
        """Take note of a row before its first series. ``ValueError`` where it cannot be had."""
        make: Mapping[str, Callable[[Metric], Any]] = {
            "counter": self.counter,
            "gauge": self.gauge,
            "histogram": self.histogram,
        }
        make[metric.kind](metric)
