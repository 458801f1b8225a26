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
    Instrument,
    Observed,
)
from agentmetrics.recording.metric import Metric, clean_label
from agentmetrics.recording.recorder import Recorder, Wanted
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
        self._onward: dict[str, Instrument[Any]] = {}

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

    def onward(self, metric: Metric) -> Instrument[Any]:
        """The next recorder's instrument of a metric, looked up once: every new label set asks."""
        found = self._onward.get(metric.name)
        if found is None:
            outward, ask = self.outward(metric), self._next
            if metric.kind == "counter":
                found = ask.counter(outward)
            elif metric.kind == "gauge":
                found = ask.gauge(outward)
            else:
                found = ask.histogram(outward)
            self._onward[metric.name] = found
        return found

    def declare(self, metric: Metric) -> None:
        self.onward(metric)

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> CounterSeries:
        series: CounterSeries = self._bind_onward(metric, values)
        return series

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> GaugeSeries:
        series: GaugeSeries = self._bind_onward(metric, values)
        return series

    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> HistogramSeries:
        series: HistogramSeries = self._bind_onward(metric, values)
        return series

    def _bind_onward(self, metric: Metric, values: tuple[str, ...]) -> Any:
        return self.onward(metric).bind(self.outward_values(metric, values))

    def bind_each(self, wanted: Sequence[Wanted]) -> list[Any]:
        outward = self.outward_values
        return self._next.bind_each(
            [
                (self.onward(metric).metric, [outward(metric, values) for values in sets])
                for metric, sets in wanted
            ]
        )

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
        return self._inward(self._next.collect())

    def collect_all(self) -> list[Family]:
        return self._inward(self._next.collect_all())

    def _inward(self, families: list[Family]) -> list[Family]:
        inward = map(self.inward_family, families)
        return [family for family in inward if family is not None]

    def flush(self) -> None:
        self._next.flush()

    def reset(self) -> None:
        self._next.reset()

    def close(self) -> None:
        self._next.close()
