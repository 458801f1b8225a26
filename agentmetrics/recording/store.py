"""The series store that the memory, Prometheus and StatsD recorders share."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from agentmetrics.recording.batches import slots_batch
from agentmetrics.recording.exemplars import Exemplar, SpanContext, span_here
from agentmetrics.recording.fork import (
    NOTICED,
    STORES,
    ForkAware,
    held_lock,
    notice_fork,
    watch_forks,
)
from agentmetrics.recording.instruments import (
    Batch,
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    Observed,
)
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import Metric, check_same, clean_label
from agentmetrics.recording.recorder import Anchor, Recorder, Wanted
from agentmetrics.recording.values import Family, HistogramValue, Value


class StoredCounter(CounterSeries):
    """A counter in a plain slot."""

    __slots__ = ("created", "lock", "value")

    def __init__(self, store: Store, metric: Metric, values: tuple[str, ...]) -> None:
        self.lock = store.lock
        self.created = time.time()
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        if not amount >= 0:
            raise ValueError(f"a counter cannot be incremented by {amount}")
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.value += amount

    def reset(self) -> None:
        self.created, self.value = time.time(), 0.0


class StoredGauge(GaugeSeries):
    """A gauge in a plain slot."""

    __slots__ = ("lock", "value")

    def __init__(self, store: Store, metric: Metric, values: tuple[str, ...]) -> None:
        self.lock = store.lock
        self.value = 0.0

    def set(self, value: float) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.value = value

    def inc(self, amount: float = 1.0) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.value -= amount

    def reset(self) -> None:
        self.value = 0.0


class StoredHistogram(HistogramSeries):
    """A histogram as one count a bucket, the last being ``+Inf``, and a sum."""

    __slots__ = ("bounds", "counts", "created", "lock", "sum")

    def __init__(self, store: Store, metric: Metric, values: tuple[str, ...]) -> None:
        self.lock = store.lock
        self.bounds = metric.buckets
        self.reset()

    def observe(self, value: float) -> None:
        if value != value:
            raise ValueError("a histogram cannot observe NaN")
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value

    def reset(self) -> None:
        self.created = time.time()
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def read(self) -> HistogramValue:
        return HistogramValue(self.bounds, tuple(self.counts), self.sum)


class ExemplarHistogram(StoredHistogram):
    """A histogram that keeps, of each bucket, the last observation made in a sampled span."""

    __slots__ = ("exemplars",)

    def observe(self, value: float) -> None:
        span = span_here()
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            super().observe(value)
            if span is not None:
                self.exemplars[bisect_left(self.bounds, value)] = value, time.time(), span

    def reset(self) -> None:
        super().reset()
        self.exemplars: dict[int, tuple[float, float, SpanContext]] = {}

    def read(self) -> HistogramValue:
        kept = {place: Exemplar(*of) for place, of in self.exemplars.items()}
        return HistogramValue(self.bounds, tuple(self.counts), self.sum, kept)


_lock = held_lock(STORES)
"""Of all stores of the process. With one each, a thread that updates several would hold one and
wait for another, which a thread may hold in which the collector, or a signal handler, ends a call
just then, and waits for the first."""

Series = StoredCounter | StoredGauge | StoredHistogram


class Store(ForkAware):
    """Series by metric and label values, updated and read under one lock.

    The lock is re-entrant: ``with store.lock:`` around several updates makes them one step.
    The classes of series can be replaced by a backend that keeps more per series.
    """

    def __init__(
        self,
        counter: type[StoredCounter] = StoredCounter,
        gauge: type[StoredGauge] = StoredGauge,
        histogram: type[StoredHistogram] = StoredHistogram,
    ) -> None:
        self.lock = _lock
        self.metrics: dict[str, Metric] = {}
        self.series: dict[str, dict[tuple[str, ...], Any]] = {}
        self.anchor = Anchor()
        self._classes: dict[str, Callable[..., Any]] = {
            "counter": counter,
            "gauge": gauge,
            "histogram": histogram,
        }
        self.keeps_exemplars = issubclass(histogram, ExemplarHistogram)
        self._observed: dict[str, tuple[Metric, Callable[[], Observed]]] = {}
        self._problems = LogOnce()
        watch_forks(self, STORES)

    def declare(self, metric: Metric) -> None:
        """Make room for a metric. ``ValueError`` when its name means another one already."""
        notice_fork()
        with self.lock:
            check_same(self.metrics.setdefault(metric.name, metric), metric)
            self.series.setdefault(metric.name, {})

    def forget(self, metric: Metric) -> None:
        """Take back a declaration that has no series yet."""
        with self.lock:
            del self.metrics[metric.name], self.series[metric.name]

    def bind(self, metric: Metric, values: tuple[str, ...]) -> Any:
        """The series of these label values, made when first asked for."""
        family = self.series[metric.name]
        found = family.get(values)
        if found is None:
            notice_fork()
            with self.lock:
                found = family.setdefault(values, self._classes[metric.kind](self, metric, values))
        return found

    def bind_each(self, wanted: Sequence[Wanted]) -> list[Any]:
        """What ``bind`` returns for each, made under the lock at once."""
        bound, classes = [], self._classes
        notice_fork()
        with self.lock:
            for metric, sets in wanted:
                family, make = self.series[metric.name], classes[metric.kind]
                for values in sets:
                    found = family.get(values)
                    if found is None:
                        found = family.setdefault(values, make(self, metric, values))
                    bound.append(found)
        return bound

    def observe(self, metric: Metric, callback: Callable[[], Observed]) -> None:
        self.declare(metric)
        self._observed[metric.name] = (metric, callback)

    def observed(self) -> Iterator[tuple[Metric, list[tuple[tuple[str, ...], Value]]]]:
        """Every observed gauge, read now; a callback that fails is logged once and left out."""
        notice_fork()
        for name, (metric, _) in list(self._observed.items()):
            series = self.read_observed(name)
            if series is not None:
                yield metric, series

    def read_observed(self, name: str) -> list[tuple[tuple[str, ...], Value]] | None:
        """The observed gauge of this name, read now.

        ``None`` where no callback is known, or where it fails, which is logged once.
        """
        metric, callback = self._observed.get(name, (None, None))
        if metric is None or callback is None:
            return None
        try:
            return _observed_series(metric, callback())
        except Exception as error:
            self._problems.warn(name, "the callback of %s failed: %s", name, type(error).__name__)
            return None

    def collect(self) -> list[Family]:
        """Every family with at least one series, all as they stood at one moment."""
        observed = {metric.name: series for metric, series in self.observed()}
        families = [
            Family(metric, observed.get(metric.name) or series) for metric, series in self.kept()
        ]
        return [family for family in families if family.series]

    def kept(self) -> list[Family]:
        """Every family, without what is read from callbacks, all as they stood at one moment.

        It runs nothing of anybody else's, so it may be asked around a fork and under other locks.
        """
        notice_fork()
        with self.lock:
            return [
                Family(metric, list(_values(self.series[name])))
                for name, metric in self.metrics.copy().items()
            ]

    def created(self, metric: Metric) -> dict[tuple[str, ...], float]:
        """When each series of a counter or histogram began at 0, in Unix time."""
        notice_fork()
        with self.lock:
            series = self.series[metric.name].copy()
            return {values: each.created for values, each in series.items()}

    def reset(self) -> None:
        notice_fork()
        with self.lock:
            for name, metric in self.metrics.copy().items():
                if not metric.is_live:  # what is in flight is no history
                    for series in self.series[name].copy().values():
                        series.reset()

    def after_fork_in_child(self) -> None:
        """Forget what was in flight: after a fork it belongs to the parent alone."""
        for name, metric in self.metrics.items():
            if metric.is_live:
                for series in self.series[name].values():
                    series.value = 0.0


def _observed_series(metric: Metric, value: Observed) -> list[tuple[tuple[str, ...], Value]]:
    items = value.items() if isinstance(value, Mapping) else [((), value)]
    series: dict[tuple[str, ...], float] = {}
    for labels, number in items:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} takes {len(metric.labels)} label values")
        values = tuple(map(clean_label, labels))
        before = series.get(values)
        number = float(number)
        series[values] = number if before is None else metric.joined(before, number)
    return list(series.items())


def _values(family: dict[tuple[str, ...], Series]) -> Iterator[tuple[tuple[str, ...], Value]]:
    for values, series in family.copy().items():  # a signal handler may add some
        if isinstance(series, StoredHistogram):
            yield values, series.read()
        else:
            yield values, series.value


_PLAIN = {StoredCounter, StoredGauge, StoredHistogram, ExemplarHistogram}


class StoreRecorder(Recorder):
    """A backend whose series live in a ``Store``."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.anchor = store.anchor

    @property
    def keeps_exemplars(self) -> bool:
        return self.store.keeps_exemplars

    def declare(self, metric: Metric) -> None:
        self.store.declare(metric)

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> StoredCounter:
        return self.store.bind(metric, values)  # type: ignore[no-any-return]

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> StoredGauge:
        return self.store.bind(metric, values)  # type: ignore[no-any-return]

    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> StoredHistogram:
        return self.store.bind(metric, values)  # type: ignore[no-any-return]

    def bind_each(self, wanted: Sequence[Wanted]) -> list[Any]:
        return self.store.bind_each(wanted)

    def observe_gauge(self, metric: Metric, callback: Callable[[], Observed]) -> None:
        if metric.kind != "gauge":
            raise ValueError(f"{metric.name} is a {metric.kind}, requested as a gauge")
        self.declare(metric)
        self.store.observe(metric, callback)

    def update(self) -> AbstractContextManager[Any]:
        notice_fork()
        return self.store.lock

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        series = (*adds, *sets, *observations)
        if {*map(type, series)} <= _PLAIN:
            exemplars = len(observations) if self.keeps_exemplars else 0
            return slots_batch(len(adds), len(sets), len(observations), exemplars)(*series)
        return super().batch(adds, sets, observations)

    def collect(self) -> list[Family]:
        return self.store.collect()

    def reset(self) -> None:
        self.store.reset()
