"""The in-memory backend: values to read in the same process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import add
from typing import Any, overload

from agentmetrics.recording.instruments import Histogram
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.store import Store, StoreRecorder
from agentmetrics.recording.values import HistogramValue, Sample, Value


class MemoryRecorder(StoreRecorder):
    """A recorder whose values are read from it."""

    def __init__(self) -> None:
        super().__init__(Store())

    def value(self, name: str, **labels: str) -> float:
        """The sum over the series of a counter or gauge that have these labels; 0 where none has.

        Raises ``ValueError`` for a histogram.
        """
        total = 0.0
        for value in self._matching(name, labels):
            if isinstance(value, HistogramValue):
                raise ValueError(f"{name} is a histogram: read it with histogram({name!r})")
            total += value
        return total

    @overload
    def histogram(self, metric: Metric, /) -> Histogram: ...
    @overload
    def histogram(self, metric: str, /, **labels: str) -> HistogramValue: ...
    def histogram(self, metric: Metric | str, /, **labels: str) -> Histogram | HistogramValue:
        """The instrument of a metric or, asked by name, the sum of its series with these labels.

        Raises ``KeyError`` for a name that is no histogram of this recorder.
        """
        if isinstance(metric, Metric):
            return super().histogram(metric)
        declared = self.store.metrics.get(metric)
        if declared is None or declared.kind != "histogram":
            raise KeyError(f"no histogram named {metric!r} was recorded")
        empty = HistogramValue(declared.buckets, (0,) * (len(declared.buckets) + 1), 0.0)
        found = (v for v in self._matching(metric, labels) if isinstance(v, HistogramValue))
        return reduce(add, found, empty)

    def samples(self) -> Iterator[Sample]:
        """Every sample as an exposition would have it, all from one moment."""
        for metric, series in self.store.collect():
            for values, value in series:
                yield from _samples(metric, dict(zip(metric.labels, values, strict=True)), value)

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain data: by metric name its kind, help and series.

        A series is ``{"labels": {…}, "value": v}``, or for a histogram ``{"labels": {…},
        "count": n, "sum": s, "buckets": {upper bound as text: cumulative count}}``.
        """
        return {
            metric.name: {
                "kind": metric.kind,
                "help": metric.help,
                "series": [
                    {"labels": dict(zip(metric.labels, values, strict=True)), **_plain(value)}
                    for values, value in series
                ],
            }
            for metric, series in self.store.collect()
        }

    def _matching(self, name: str, labels: Mapping[str, str]) -> Iterator[Value]:
        for metric, series in self.store.collect():
            if metric.name == name:
                unknown = labels.keys() - set(metric.labels)
                if unknown:
                    raise ValueError(
                        f"{name} has the labels {metric.labels}, not {sorted(unknown)}"
                    )
                wanted = [(metric.labels.index(label), value) for label, value in labels.items()]
                for values, value in series:
                    if all(values[index] == text for index, text in wanted):
                        yield value


def _samples(metric: Metric, labels: dict[str, str], value: Value) -> Iterator[Sample]:
    if not isinstance(value, HistogramValue):
        yield Sample(metric.name, labels, value)
        return
    for bound, count in value.cumulative():
        yield Sample(f"{metric.name}_bucket", {**labels, "le": bound_text(bound)}, count)
    yield Sample(f"{metric.name}_sum", labels, value.sum)
    yield Sample(f"{metric.name}_count", labels, value.count)


def _plain(value: Value) -> dict[str, Any]:
    if not isinstance(value, HistogramValue):
        return {"value": value}
    buckets = {bound_text(bound): count for bound, count in value.cumulative()}
    return {"count": value.count, "sum": value.sum, "buckets": buckets}


def bound_text(bound: float) -> str:
    """A bucket's upper bound as the exposition formats write it in ``le``."""
    if bound == float("inf"):
        return "+Inf"
    whole, dot, fraction = repr(float(bound)).partition(".")
    if dot and bound > 0 and len(whole) > 6:  # Go, and so every exposition, has exponents sooner
        mantissa = f"{whole[0]}.{whole[1:]}{fraction}".rstrip("0").rstrip(".")
        return f"{mantissa}e+{len(whole) - 1:02}"
    return f"{whole}{dot}{fraction}"
