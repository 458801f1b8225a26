"""Instruments, and their bound series."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from agentmetrics.recording.fork import NOTICED, notice_fork
from agentmetrics.recording.metric import Metric, clean_label

Observed = float | Mapping[tuple[str, ...], float]
"""What an ``observe_gauge`` callback returns: one value, or one per tuple of label values."""

Batch = Callable[..., None]
"""Takes amounts to add, values to set and values to observe; see ``Recorder.batch``."""

S = TypeVar("S")


class CounterSeries(ABC):
    """One series of a counter."""

    __slots__ = ()

    @abstractmethod
    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount``; ``ValueError`` when it is negative or NaN."""


class GaugeSeries(ABC):
    """One series of a gauge."""

    __slots__ = ()

    @abstractmethod
    def set(self, value: float) -> None: ...
    @abstractmethod
    def inc(self, amount: float = 1.0) -> None: ...
    @abstractmethod
    def dec(self, amount: float = 1.0) -> None: ...


class HistogramSeries(ABC):
    """One series of a histogram."""

    __slots__ = ()

    @abstractmethod
    def observe(self, value: float) -> None:
        """Count ``value`` in its bucket; ``ValueError`` when it is NaN."""


class Instrument(Generic[S]):
    """A metric of one recorder, which returns its series by label values."""

    __slots__ = ("_bind", "_names", "metric")

    def __init__(self, metric: Metric, bind: Callable[[Metric, tuple[str, ...]], S]) -> None:
        self.metric = metric
        self._bind = bind
        self._names = frozenset(metric.labels)

    def labels(self, *values: object, **named: object) -> S:
        """The series with these label values: in the order of ``metric.labels``, or by name.

        Values are cleaned (see ``clean_label``). Series returned for the same values add up to one.
        Raises ``ValueError`` unless there is one value for each label.
        """
        if not NOTICED[0]:
            notice_fork()
        if named:
            values = self._in_order(values, named)
        if len(values) != len(self.metric.labels):
            raise ValueError(
                f"{self.metric.name} takes {len(self.metric.labels)} label values "
                f"{self.metric.labels}, got {len(values)}"
            )
        return self._bind(self.metric, tuple(map(clean_label, values)))

    def bind(self, values: tuple[str, ...]) -> S:
        """``labels`` for values that are clean, in order, and as many as there are labels."""
        return self._bind(self.metric, values)

    def _in_order(self, values: tuple[object, ...], named: dict[str, object]) -> tuple[object, ...]:
        if values or named.keys() != self._names:
            raise ValueError(
                f"{self.metric.name} has the labels {self.metric.labels}, "
                f"got {len(values)} without a name and {sorted(named)}"
            )
        return tuple(named[label] for label in self.metric.labels)


class Counter(Instrument[CounterSeries]):
    """A value that only increases."""

    __slots__ = ()


class Gauge(Instrument[GaugeSeries]):
    """A value that can go up and down."""

    __slots__ = ()


class Histogram(Instrument[HistogramSeries]):
    """Values counted in buckets."""

    __slots__ = ()
