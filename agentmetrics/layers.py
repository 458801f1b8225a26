"""Layers: a recorder around a recorder. Fanout, namespace, common labels, cardinality limit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from agentmetrics.backends.noop import NOTHING
from agentmetrics.catalog import SERIES_DROPPED
from agentmetrics.recorder import (
    Batch,
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    Metric,
    Observed,
    Recorder,
    check_label_name,
    clean_label,
)

logger = logging.getLogger("agentmetrics")

OTHER = "other"
"""The value that labels get past the cardinality limit."""


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


class Namespace(Layer):
    """Every metric under a prefix: ``shop_llm_calls_total`` in ``Namespace(recorder, "shop")``."""

    def __init__(self, recorder: Recorder, prefix: str) -> None:
        super().__init__(recorder)
        self.prefix = prefix
        self.outward(SERIES_DROPPED)  # an illegal prefix shows now

    def outward(self, metric: Metric) -> Metric:
        return replace(metric, name=f"{self.prefix}_{metric.name}")


class CommonLabels(Layer):
    """Every series with the same further labels: ``CommonLabels(recorder, {"env": "prod"})``."""

    def __init__(self, recorder: Recorder, labels: Mapping[str, str]) -> None:
        super().__init__(recorder)
        for name in labels:
            check_label_name(name)
        self._names, self._values = tuple(labels), tuple(labels.values())

    def outward(self, metric: Metric) -> Metric:
        return metric.with_labels(self._names)

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        return values + self._values


class CardinalityLimit(Layer):
    """At most ``max_series`` label sets a metric; past it label values become ``other``.

    Labels with a fixed set of values (``metric.closed_labels``) keep theirs, so sums by
    ``status`` stay right. ``agentmetrics_series_dropped_total{metric}`` counts each time a
    label set was turned away.
    """

    def __init__(self, recorder: Recorder, max_series: int | None = None) -> None:
        super().__init__(recorder)
        if max_series is not None:
            self.max_series = max_series
        self._known: dict[str, set[tuple[str, ...]]] = {}
        self._step = recorder.update()
        self._dropped = recorder.counter(SERIES_DROPPED)

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        with self._step:  # the recorder's own lock, which is held over a fork
            known = self._known.setdefault(metric.name, set())
            if values in known or not metric.labels:
                return values
            if len(known) < self.max_series:
                known.add(values)
                return values
        self._dropped.labels(metric.name).inc()
        return tuple(
            value if label in metric.closed_labels else OTHER
            for label, value in zip(metric.labels, values, strict=True)
        )


def limited(recorder: Recorder) -> Recorder:
    """The recorder with a cardinality limit: the one it has, else one of its own."""
    return recorder if _is_limited(recorder) else recorder.attached(CardinalityLimit)


def _is_limited(recorder: Recorder) -> bool:
    if isinstance(recorder, CardinalityLimit):
        return True
    return bool(recorder.inner) and all(map(_is_limited, recorder.inner))


class FanoutRecorder(Recorder):
    """Several recorders at once. One that fails is logged once and costs the others nothing."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        super().__init__()
        if not recorders:
            raise ValueError("a fanout needs at least one recorder")
        self.inner = tuple(recorders)
        self._failed: set[str] = set()

    def declare(self, metric: Metric) -> None:
        for recorder in self.inner:
            getattr(recorder, metric.kind)(metric)

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> CounterSeries:
        return _FanoutCounter(self, self._bound(lambda r: r.counter(metric).labels(*values)))

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> GaugeSeries:
        return _FanoutGauge(self, self._bound(lambda r: r.gauge(metric).labels(*values)))

    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> HistogramSeries:
        return _FanoutHistogram(self, self._bound(lambda r: r.histogram(metric).labels(*values)))

    def observe_gauge(self, metric: Metric, callback: Callable[[], Observed]) -> None:
        for recorder in self.inner:
            recorder.observe_gauge(metric, callback)

    def update(self) -> AbstractContextManager[Any]:
        return _Together(self)

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        def of(index: int, group: Sequence[Any]) -> list[Any]:
            return [series.each[index] for series in group]

        batches = [
            recorder.batch(of(index, adds), of(index, sets), of(index, observations))
            for index, recorder in enumerate(self.inner)
        ]

        def apply(*values: float) -> None:
            for batch in batches:
                try:
                    batch(*values)
                except Exception as error:
                    self.failed("batch", error)

        return apply

    def flush(self) -> None:
        self._all(Recorder.flush)

    def reset(self) -> None:
        self._all(Recorder.reset)

    def close(self) -> None:
        self._all(Recorder.close)

    def _bound(self, bind: Callable[[Recorder], Any]) -> Iterator[Any]:
        for recorder in self.inner:
            try:
                yield bind(recorder)
            except Exception as error:
                self.failed("labels", error)
                yield NOTHING

    def _all(self, method: Callable[[Recorder], None]) -> None:
        for recorder in self.inner:
            try:
                getattr(recorder, method.__name__)()
            except Exception as error:
                self.failed(method.__name__, error)

    def failed(self, what: str, error: Exception) -> None:
        kind = f"{what}: {type(error).__name__}"
        if kind not in self._failed:
            self._failed.add(kind)
            logger.warning("a backend failed at %s; the others go on", kind)


class _Together:
    """One step in several recorders."""

    def __init__(self, owner: FanoutRecorder) -> None:
        self._owner = owner
        self._steps = [recorder.update() for recorder in owner.inner]

    def __enter__(self) -> None:
        for step in self._steps:
            try:
                step.__enter__()
            except Exception as error:
                self._owner.failed("update", error)

    def __exit__(self, *raised: Any) -> None:
        for step in reversed(self._steps):
            try:
                step.__exit__(*raised)
            except Exception as error:
                self._owner.failed("update", error)


class _Fanout:
    """A series in several recorders; ``each`` has one for every recorder, in their order."""

    __slots__ = ("_owner", "each")

    def __init__(self, owner: FanoutRecorder, each: Iterable[Any]) -> None:
        self._owner = owner
        self.each = tuple(each)


class _FanoutCounter(_Fanout, CounterSeries):
    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        if not amount >= 0:
            raise ValueError(f"a counter cannot be raised by {amount}")
        for series in self.each:
            try:
                series.inc(amount)
            except Exception as error:
                self._owner.failed("inc", error)


class _FanoutGauge(_Fanout, GaugeSeries):
    __slots__ = ()

    def set(self, value: float) -> None:
        for series in self.each:
            try:
                series.set(value)
            except Exception as error:
                self._owner.failed("set", error)

    def inc(self, amount: float = 1.0) -> None:
        for series in self.each:
            try:
                series.inc(amount)
            except Exception as error:
                self._owner.failed("inc", error)

    def dec(self, amount: float = 1.0) -> None:
        for series in self.each:
            try:
                series.dec(amount)
            except Exception as error:
                self._owner.failed("dec", error)


class _FanoutHistogram(_Fanout, HistogramSeries):
    __slots__ = ()

    def observe(self, value: float) -> None:
        if value != value:
            raise ValueError("a histogram cannot observe NaN")
        for series in self.each:
            try:
                series.observe(value)
            except Exception as error:
                self._owner.failed("observe", error)
