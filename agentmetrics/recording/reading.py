"""Reading what a recorder holds: values by name and labels, samples, everything as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import add
from typing import Any

from agentmetrics.errors import UnknownMetricError
from agentmetrics.recording.known import check_labels
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.values import Family, HistogramValue, Sample, Value, bound_text


def total(families: Iterable[Family], metric: Metric, labels: Mapping[str, str]) -> float:
    """The sum over the series of a counter or gauge that have these labels; 0 without any.

    Raises ``UnknownMetricError`` for a label that the metric has not, ``ValueError`` for a
    histogram.
    """
    if metric.kind == "histogram":
        raise ValueError(f"{metric.name} is a histogram: read it with histogram({metric.name!r})")
    return sum((v for v in _matching(families, metric, labels) if isinstance(v, int | float)), 0.0)


def distribution(
    families: Iterable[Family], metric: Metric, labels: Mapping[str, str]
) -> HistogramValue:
    """The sum of the series of a histogram that have these labels.

    Raises ``UnknownMetricError`` for what is no histogram, or for a label that it has not.
    """
    if metric.kind != "histogram":
        raise UnknownMetricError(
            f"{metric.name} is a {metric.kind}: read it with value({metric.name!r})"
        )
    empty = HistogramValue(metric.buckets, (0,) * (len(metric.buckets) + 1), 0.0)
    found = _matching(families, metric, labels)
    return reduce(add, (value for value in found if isinstance(value, HistogramValue)), empty)


def _matching(
    families: Iterable[Family], metric: Metric, labels: Mapping[str, str]
) -> Iterator[Value]:
    check_labels(metric, labels)
    wanted = [(metric.labels.index(label), value) for label, value in labels.items()]
    for family in families:
        if family.metric.name == metric.name:
            for values, value in family.series:
                if all(values[index] == text for index, text in wanted):
                    yield value


def samples(families: Iterable[Family]) -> Iterator[Sample]:
    """Every sample as an exposition would have it."""
    for metric, series in families:
        for values, value in series:
            labels = dict(zip(metric.labels, values, strict=True))
            if not isinstance(value, HistogramValue):
                yield Sample(metric.name, labels, value)
                continue
            for bound, count in value.cumulative():
                yield Sample(f"{metric.name}_bucket", {**labels, "le": bound_text(bound)}, count)
            yield Sample(f"{metric.name}_sum", labels, value.sum)
            yield Sample(f"{metric.name}_count", labels, value.count)


def snapshot(families: Iterable[Family]) -> dict[str, Any]:
    """Everything as plain data; see ``Recorder.snapshot``."""
    return {
        metric.name: {
            "kind": metric.kind,
            "help": metric.help,
            "series": [
                {"labels": dict(zip(metric.labels, values, strict=True)), **_plain(value)}
                for values, value in series
            ],
        }
        for metric, series in families
    }


def _plain(value: Value) -> dict[str, Any]:
    if not isinstance(value, HistogramValue):
        return {"value": value}
    buckets = {bound_text(bound): count for bound, count in value.cumulative()}
    return {"count": value.count, "sum": value.sum, "buckets": buckets}
