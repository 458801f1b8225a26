"""What a store holds, as instruments that are read at collection ask for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Protocol

from agentmetrics.plugin import Store, Value

Attributes = dict[str, str]
Point = tuple[Attributes, float]


class Reading(Protocol):
    """The numbers of counters and gauges, by the name of a metric."""

    def points(self, name: str) -> Iterator[Point]: ...


class Live:
    """The store as it is now.

    Nothing is locked: it is asked by somebody's metric reader, which holds the SDK's locks, while
    a series that is bound inside of an update may be waiting for these.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def points(self, name: str) -> Iterator[Point]:
        metric = self._store.metrics.get(name)
        if metric is None:
            return
        series: Iterable[tuple[tuple[str, ...], Value]] | None = self._store.read_observed(name)
        if not series:
            series = [(values, one.value) for values, one in list(self._store.series[name].items())]
        yield from _points(metric.labels, series)


class Moment:
    """The store as it was at one moment, so that an update is in it as a whole or not at all."""

    def __init__(self, store: Store) -> None:
        observed = {metric.name: (metric, series) for metric, series in store.observed() if series}
        with store.lock:
            self._families = {
                name: (metric, [(values, one.value) for values, one in store.series[name].items()])
                for name, metric in store.metrics.items()
                if metric.kind != "histogram"
            }
        self._families.update(observed)

    def points(self, name: str) -> Iterator[Point]:
        if name in self._families:
            metric, series = self._families[name]
            yield from _points(metric.labels, series)


class Totals:
    """The counters that a closed recorder leaves behind: a sum that went away would seem to fall.

    What it had in flight, and its other gauges, end with it.
    """

    def __init__(self, store: Store) -> None:
        self._points = {
            metric.name: list(_points(metric.labels, series))
            for metric, series in store.kept()
            if metric.kind == "counter"
        }

    def points(self, name: str) -> Iterator[Point]:
        yield from self._points.get(name, ())


def _points(
    labels: tuple[str, ...], series: Iterable[tuple[tuple[str, ...], Value]]
) -> Iterator[Point]:
    for values, value in series:
        if isinstance(value, int | float) and math.isfinite(value):
            yield dict(zip(labels, values, strict=True)), value
