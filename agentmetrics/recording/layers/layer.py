"""What every layer is: a recorder that hands everything on to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from agentmetrics.recording.instruments import (
    Batch,
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    Observed,
)
from agentmetrics.recording.metric import Metric, clean_label
from agentmetrics.recording.recorder import Recorder


class Layer(Recorder):
    """A recorder that hands everything to another, its metric and label values changed.

    A layer says what it changes in ``outward`` (the metric) and ``outward_values``.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.inner = (recorder,)
        self.extra_labels = recorder.extra_labels
        self.latency_buckets = recorder.latency_buckets
        self.max_series = recorder.max_series
        self.call_ttl_seconds = recorder.call_ttl_seconds
        self.prices = recorder.prices
        self._next = recorder

    def outward(self, metric: Metric) -> Metric:
        return metric

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        return values

    def declare(self, metric: Metric) -> None:
        if metric.kind == "counter":
            self._next.counter(self.outward(metric))
        elif metric.kind == "gauge":
            self._next.gauge(self.outward(metric))
        else:
            self._next.histogram(self.outward(metric))

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> CounterSeries:
        instrument = self._next.counter(self.outward(metric))
        return instrument.labels(*self.outward_values(metric, values))

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> GaugeSeries:
        instrument = self._next.gauge(self.outward(metric))
        return instrument.labels(*self.outward_values(metric, values))

    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> HistogramSeries:
        instrument = self._next.histogram(self.outward(metric))
        return instrument.labels(*self.outward_values(metric, values))

    def observe_gauge(self, metric: Metric, callback: Callable[[], Observed]) -> None:
        def outward() -> Observed:
            value = callback()
            series = value.items() if isinstance(value, Mapping) else [((), value)]
            merged: dict[tuple[str, ...], float] = {}
            for labels, number in series:
                values = self.outward_values(metric, tuple(map(clean_label, labels)))
                merged[values] = merged.get(values, 0.0) + number
            return merged

        self._next.observe_gauge(self.outward(metric), outward)

    def update(self) -> AbstractContextManager[Any]:
        return self._next.update()

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        return self._next.batch(adds, sets, observations)  # the series are the next one's own

    def flush(self) -> None:
        self._next.flush()

    def reset(self) -> None:
        self._next.reset()

    def close(self) -> None:
        self._next.close()
