"""The base of every layer: a recorder that passes everything on to another."""

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
from agentmetrics.recording.values import Family, Value


class Layer(Recorder):
    """A recorder that passes everything on to another, with the metric and label values changed.

    A layer defines what it changes in ``outward`` (the metric) and ``outward_values``, and how that
    is reversed for readings in ``inward`` and ``inward_values``.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.stand_around((recorder,))
        self._next = recorder

    def outward(self, metric: Metric) -> Metric:
        return metric

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        return values

    def inward(self, metric: Metric) -> Metric | None:
        """The metric that ``outward`` made this one of; ``None`` for one that it did not make."""
        return metric

    def inward_values(self, values: tuple[str, ...]) -> tuple[str, ...] | None:
        """The values that ``outward_values`` made these of; ``None`` where it did not."""
        return values

    def inward_family(self, family: Family) -> Family | None:
        """The family as it was recorded through this layer; ``None`` for another's."""
        metric = self.inward(family.metric)
        series: list[tuple[tuple[str, ...], Value]] = [
            (inward, value)
            for values, value in family.series
            if (inward := self.inward_values(values)) is not None
        ]
        return Family(metric, series) if metric is not None and series else None

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
                before = merged.get(values)
                merged[values] = number if before is None else metric.joined(before, number)
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

    def collect(self) -> list[Family]:
        inward = map(self.inward_family, self._next.collect())
        return [family for family in inward if family is not None]

    def flush(self) -> None:
        self._next.flush()

    def reset(self) -> None:
        self._next.reset()

    def close(self) -> None:
        self._next.close()
