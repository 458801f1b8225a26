"""The backend-agnostic interface: where metrics go."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from agentmetrics.recording import reading, showing
from agentmetrics.recording.frames import series_frame
from agentmetrics.recording.instruments import (
    Batch,
    Counter,
    CounterSeries,
    Gauge,
    GaugeSeries,
    Histogram,
    HistogramSeries,
    Instrument,
    Observed,
)
from agentmetrics.recording.known import known_metric, turned_off, unknown_metric
from agentmetrics.recording.metric import Kind, Metric, check_same
from agentmetrics.recording.values import Family, HistogramValue, Sample

if TYPE_CHECKING:
    from pandas import DataFrame
    from typing_extensions import Self

    from agentmetrics import RecorderSummary

T = TypeVar("T")

Wanted = tuple[Metric, Sequence[tuple[str, ...]]]
"""A metric of a recorder and clean label values of at least one of its series.

Those of several differ in nothing but labels with a fixed set of values: ``closed_labels``."""

_BINDING = ("bind_counter", "bind_gauge", "bind_histogram")


class Anchor:
    """What recorders with the same series have in common: one for each set of series."""

    def __init__(self) -> None:
        self.pipeline: object = None
        """The pipeline of these series, once there is one; see ``agentmetrics.pipeline``."""
        self.is_off: Callable[[str], bool] = lambda name: False
        """Whether the metric of this name is turned off, so that a reading of 0 would mislead."""


class Recorder(ABC):
    """Where metrics go. A backend implements the abstract methods; sources use the others.

    After construction, no method except ``counter``, ``gauge``, ``histogram`` and ``observe_gauge``
    may raise for a reason outside the caller's control: failed delivery is counted and logged by
    the backend.
    """

    inner: tuple[Recorder, ...] = ()
    """The recorders a layer stands around; empty for a backend."""
    resets: ClassVar[bool] = True
    """Whether ``reset`` sets series back to zero; ``False`` for a backend that cannot."""

    def __init_subclass__(cls) -> None:
        """Who binds in another way than its base class is asked for each series."""
        super().__init_subclass__()
        own = vars(cls)
        if "bind_each" not in own and not own.keys().isdisjoint(_BINDING):
            cls.bind_each = Recorder.bind_each  # type: ignore[method-assign]

    def __init__(self) -> None:
        self.anchor = Anchor()
        self._instruments: dict[str, Instrument[Any]] = {}
        self._around: weakref.ref[Recorder] | None = None

    @classmethod
    def from_settings(cls, settings: Any) -> Self:
        """The recorder for these ``agentmetrics.Settings``; called on the class of an entry point.

        Raises ``agentmetrics.ConfigurationError`` on a setting it cannot use.
        """
        return cls()

    def keeps(self, metric: Metric, values: tuple[str, ...]) -> bool:
        """Whether clean label values have a series of their own here, or would get one.

        A limit that turns them away counts that.
        """
        return True

    # Instruments

    def counter(self, metric: Metric) -> Counter:
        return self._instrument(Counter, "counter", metric, self.bind_counter)

    def gauge(self, metric: Metric) -> Gauge:
        return self._instrument(Gauge, "gauge", metric, self.bind_gauge)

    @overload
    def histogram(self, metric: Metric, /) -> Histogram: ...
    @overload
    def histogram(self, metric: str, /, **labels: str) -> HistogramValue: ...
    def histogram(self, metric: Metric | str, /, **labels: str) -> Histogram | HistogramValue:
        """The instrument of a metric; asked by name, the sum of its series with these labels.

        Raises ``UnknownMetricError`` for a name that is no histogram's, and for a label that the
        histogram has not.
        """
        if isinstance(metric, Metric):
            return self._instrument(Histogram, "histogram", metric, self.bind_histogram)
        families = self.collect()
        return reading.distribution(families, self._named(metric, families), labels)

    def _instrument(
        self,
        cls: type[T],
        kind: Kind,
        metric: Metric,
        bind: Callable[[Metric, tuple[str, ...]], Any],
    ) -> T:
        if metric.kind != kind:
            raise ValueError(f"{metric.name} is a {metric.kind}, requested as a {kind}")
        known = self._instruments.get(metric.name)
        if known is None:
            self.declare(metric)
            new: Any = cls(metric, bind)  # type: ignore[call-arg]
            known = self._instruments.setdefault(metric.name, new)
        check_same(known.metric, metric)
        return known  # type: ignore[return-value]

    def declare(self, metric: Metric) -> None:  # noqa: B027
        """Take note of a metric before its first series. ``ValueError`` when it cannot be."""

    @abstractmethod
    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> CounterSeries: ...
    @abstractmethod
    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> GaugeSeries: ...
    @abstractmethod
    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> HistogramSeries: ...

    def bind_each(self, wanted: Sequence[Wanted]) -> list[Any]:
        """All these series in one step and in this order; see ``bind_counter`` and its like.

        What is new has some thirty, which one by one take twice as long.
        """
        bind = {
            "counter": self.bind_counter,
            "gauge": self.bind_gauge,
            "histogram": self.bind_histogram,
        }
        return [bind[metric.kind](metric, values) for metric, sets in wanted for values in sets]

    @abstractmethod
    def observe_gauge(self, metric: Metric, callback: Callable[[], Observed]) -> None:
        """Read a gauge from ``callback`` at every collection; the latest callback replaces earlier
        ones."""

    # Updates

    @abstractmethod
    def update(self) -> AbstractContextManager[Any]:
        """A context in which several updates become one step, of which no collection sees only
        half.

        It is reentrant and can be used from any thread; sources request it once.
        """

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        """One function for updates of a fixed set of series, to be called inside ``update()``.

        It takes an amount for each series of ``adds``, then a value for each of ``sets``, then one
        for each of ``observations``, unchecked: the caller is responsible for the values.
        """
        updates: list[Callable[[float], None]] = [series.inc for series in adds]
        updates += [series.set for series in sets]
        updates += [series.observe for series in observations]

        def apply(*values: float) -> None:
            for update, value in zip(updates, values, strict=True):
                update(value)

        return apply

    # Delivery

    def flush(self) -> None:  # noqa: B027
        """Deliver everything that has not been delivered yet."""

    def reset(self) -> None:  # noqa: B027
        """Reset every series to zero, except gauges of what is in flight (``metric.is_live``).

        Bound series stay usable. Does nothing if ``resets`` is ``False``.
        """

    def close(self) -> None:  # noqa: B027
        """Flush, and release threads and sockets. Later updates are lost, but never raise."""

    # Reading

    def collect(self) -> list[Family]:
        """Every metric with at least one series, all from the same moment.

        Names and labels are those that were recorded through this recorder: a layer that changes
        them on the way in reverses that here. In Prometheus multiprocess mode, these are only this
        process's own series.

        Raises ``NotImplementedError`` in a recorder that keeps no values.
        """
        raise NotImplementedError(
            f"{type(self).__name__} keeps no values to read: use a MemoryRecorder, alone or as one "
            "of several backends"
        )

    def collect_all(self) -> list[Family]:
        """Like ``collect``, in Prometheus multiprocess mode with the series of all processes."""
        return self.collect()

    def value(self, name: str, /, **labels: str) -> float:
        """The sum over the series of a counter or gauge that have these labels; 0 if there are
        none.

        Raises ``UnknownMetricError`` for an unknown metric name, a label that the metric does not
        have, or a value that a label with a fixed set never has; ``ValueError`` for a histogram.
        """
        families = self.collect()
        return reading.total(families, self._named(name, families), labels)

    def samples(self) -> Iterator[Sample]:
        """Every sample as in an exposition, all from the same moment."""
        return reading.samples(self.collect())

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain data: by metric name, its kind, help and series.

        A series is ``{"labels": {…}, "value": v}``, or for a histogram ``{"labels": {…}, "count":
        n, "sum": s, "buckets": {upper bound as text: cumulative count}}``.
        """
        return reading.snapshot(self.collect())

    def summary(self) -> RecorderSummary:
        """What was recorded, as data and in tables: ``print(recorder.summary())``.

        In Prometheus multiprocess mode, that of all processes. Raises ``NotImplementedError`` in a
        recorder that keeps no values.
        """
        return showing.summary_of(self)

    def to_pandas(self) -> DataFrame:
        """A data frame with a row for each series.

        It has the columns ``metric``, one for each label, ``value``, and for histograms ``count``,
        ``sum``, ``p50`` and ``p95``; a label of one of these names has an underscore behind it.
        Raises ``ModuleNotFoundError`` where pandas is not installed, and ``NotImplementedError`` in
        a recorder that keeps no values.
        """
        return series_frame(self.collect_all())

    def __repr__(self) -> str:
        return showing.line_of(self)

    def _repr_html_(self) -> str:
        return showing.html_of(self)

    def _named(self, name: str, families: Sequence[Family]) -> Metric:
        """The metric of this name: one that was asked for here, that has series, or is known.

        Raises ``UnknownMetricError`` for others, and for one that is turned off.
        """
        instrument = self._instruments.get(name)
        if instrument is not None:
            return instrument.metric
        declared = {family.metric.name: family.metric for family in families}
        metric = declared.get(name) or known_metric(name)
        if metric is None:
            raise unknown_metric(name, (*declared, *self._instruments))
        if self.anchor.is_off(name):
            raise turned_off(name)
        return metric

    # Exemplars

    @property
    def keeps_exemplars(self) -> bool:
        """Whether observations are kept with the span that they were made in.

        Then calls, runs and tools note the span that is current where they begin, and a backend
        finds it with ``agentmetrics.plugin.span_here()`` while they are recorded.
        """
        return any(recorder.keeps_exemplars for recorder in self.inner)

    # Layers

    def stand_around(self, inner: Sequence[Recorder]) -> None:
        """Become the layer around these recorders: their own metrics go through it, too."""
        self.inner = tuple(inner)
        for recorder in inner:
            recorder._around = weakref.ref(self)

    def outermost(self) -> Recorder:
        """The layer around all others: what a backend reports about itself goes through it."""
        around = self._around() if self._around else None
        return self if around is None else around.outermost()
