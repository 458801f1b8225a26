"""Several recorders at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from agentmetrics.recording.instruments import (
    Batch,
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    Observed,
)
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.nothing import NOTHING
from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.values import Family


class FanoutRecorder(Recorder):
    """Several recorders at once. A failing one is logged once and does not affect the others.

    Readings come from the first that keeps values.
    """

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        super().__init__()
        if not recorders:
            raise ValueError("a fanout needs at least one recorder")
        self.stand_around(recorders)
        self._problems = LogOnce()

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

    def collect(self) -> list[Family]:
        return self._first(lambda recorder: recorder.collect())

    def collect_all(self) -> list[Family]:
        return self._first(lambda recorder: recorder.collect_all())

    def _first(self, read: Callable[[Recorder], list[Family]]) -> list[Family]:
        for recorder in self.inner:
            try:
                return read(recorder)
            except NotImplementedError:
                continue
        return super().collect()

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
        self._problems.warn(kind, "a backend failed in %s; the others continue", kind)


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
            raise ValueError(f"a counter cannot be incremented by {amount}")
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
