"""Histograms that are kept for readings, and recorded by the SDK value by value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from agentmetrics import Metric
from agentmetrics.plugin import Batch, HistogramSeries, StoredHistogram

Record = Callable[[float, Mapping[str, str]], None]
"""Records a value with attributes, as an instrument of OpenTelemetry does."""


class DeliveredHistogram(HistogramSeries):
    """A histogram in the store, each of whose values also goes to ``record``, which may change."""

    __slots__ = ("attributes", "kept", "metric", "record")

    def __init__(
        self, kept: StoredHistogram, metric: Metric, values: tuple[str, ...], record: Record
    ) -> None:
        self.kept, self.metric, self.record = kept, metric, record
        self.attributes = dict(zip(metric.labels, values, strict=True))

    def observe(self, value: float) -> None:
        self.kept.observe(value)
        if 0 <= value < math.inf:  # OpenTelemetry takes no other
            self.record(value, self.attributes)


def kept_of(series: HistogramSeries) -> HistogramSeries:
    """The one in the store."""
    return series.kept if isinstance(series, DeliveredHistogram) else series


def recording_batch(keep: Batch, first: int, observations: Sequence[HistogramSeries]) -> Batch:
    """``keep``, and what it is given from ``first`` on recorded, too."""
    delivered = [
        (index, one)
        for index, one in enumerate(observations, first)
        if isinstance(one, DeliveredHistogram)
    ]
    if not delivered:
        return keep

    def apply(*values: float) -> None:
        keep(*values)
        for index, one in delivered:
            one.record(values[index], one.attributes)

    return apply
