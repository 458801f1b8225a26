"""Metrics left out, and extra labels left off metrics: fewer series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

from agentmetrics.recording.batches import picking
from agentmetrics.recording.instruments import (
    Batch,
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    Observed,
)
from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.nothing import NOTHING
from agentmetrics.recording.recorder import Recorder, Wanted


class Selection(Layer):
    """Passes on all metrics except those that are off, with extra labels only where they are kept.

    ``is_off`` is asked by name. Every ``extended`` metric comes with as many ``placeholders`` as
    there are ``extra_labels``, last; where ``keeps_extra`` is true it leaves with the labels
    themselves, which may be called as one of another metric, and else without, where series that
    differ in nothing else add up. A batch leaves out what is off: nothing is decided anew when it
    is called. Readings are for the next recorder.
    """

    def __init__(
        self,
        recorder: Recorder,
        is_off: Callable[[str], bool],
        extra_labels: tuple[str, ...],
        keeps_extra: Callable[[Metric], bool],
    ) -> None:
        super().__init__(recorder)
        self._is_off = is_off
        self._extra, self._keeps_extra = extra_labels, keeps_extra
        self.placeholders = tuple(f"extra_{place}" for place in range(len(extra_labels)))

    def outward(self, metric: Metric) -> Metric:
        if not metric.extended or not self._extra:
            return metric
        own = metric.labels[: -len(self._extra)]
        return replace(metric, labels=own + (self._extra if self._keeps_extra(metric) else ()))

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        return values[: len(self.onward(metric).metric.labels)]

    def keeps(self, metric: Metric, values: tuple[str, ...]) -> bool:
        return self._is_off(metric.name) or super().keeps(metric, values)

    def declare(self, metric: Metric) -> None:
        if not self._is_off(metric.name):
            super().declare(metric)

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> CounterSeries:
        return NOTHING if self._is_off(metric.name) else super().bind_counter(metric, values)

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> GaugeSeries:
        return NOTHING if self._is_off(metric.name) else super().bind_gauge(metric, values)

    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> HistogramSeries:
        return NOTHING if self._is_off(metric.name) else super().bind_histogram(metric, values)

    def bind_each(self, wanted: Sequence[Wanted]) -> list[Any]:
        on = [not self._is_off(metric.name) for metric, _ in wanted]
        bound = iter(super().bind_each(list(compress(wanted, on))))
        return [
            next(bound) if is_on else NOTHING
            for is_on, (_, sets) in zip(on, wanted, strict=True)
            for _ in sets
        ]

    def observe_gauge(self, metric: Metric, callback: Callable[[], Observed]) -> None:
        if not self._is_off(metric.name):
            super().observe_gauge(metric, callback)

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        series = (*adds, *sets, *observations)
        kept = tuple(place for place, one in enumerate(series) if one is not NOTHING)
        apply = super().batch(
            [one for one in adds if one is not NOTHING],
            [one for one in sets if one is not NOTHING],
            [one for one in observations if one is not NOTHING],
        )
        return apply if len(kept) == len(series) else picking(len(series), kept)(apply)
