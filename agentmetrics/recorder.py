"""The backend-agnostic interface: metrics, instruments, bound series and the recorder."""

from __future__ import annotations

import math
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

    from agentmetrics.pricing import Prices
    from agentmetrics.settings import Settings

Kind = Literal["counter", "gauge", "histogram"]
Observed = float | Mapping[tuple[str, ...], float]
"""What an ``observe_gauge`` callback returns: one value, or one per tuple of label values."""

Batch = Callable[..., None]
"""Takes amounts to add, values to set and values to observe; see ``Recorder.batch``."""

_METRIC_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MAX_LABEL_LENGTH = 128

_attaching = threading.RLock()

S = TypeVar("S")
T = TypeVar("T")


def clean_label(value: object) -> str:
    """A label value that every wire format can carry.

    Control characters, line separators and lone surrogates become ``_``, text is cut at 128
    characters, ``None`` is the empty string. Anything but text and numbers becomes ``invalid``:
    the ``repr`` of somebody's object may hold what must not leave the process.
    """
    if isinstance(value, str):
        text = str.__str__(value)[:MAX_LABEL_LENGTH]  # of an enum's member the value
    elif value is None:
        return ""
    else:
        text = _number_text(value)[:MAX_LABEL_LENGTH]
    return text if text.isprintable() else _UNSAFE.sub("_", text)


def _number_text(value: object) -> str:
    if not isinstance(value, int | float):
        return "invalid"
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return "invalid"


def check_label_name(name: str) -> None:
    """Raise ``ValueError`` unless ``name`` is a legal Prometheus label name.

    The rule is that of the Prometheus data model: letters, digits and underscores, no digit
    first, no leading ``__``; ``le`` and ``quantile`` are taken by histograms and summaries.
    """
    if not _LABEL_NAME.fullmatch(name) or name in ("le", "quantile"):
        raise ValueError(
            f"{name!r} is not a legal label name: use letters, digits and underscores, "
            "no digit first, no leading '__', and neither 'le' nor 'quantile'"
        )


def check_buckets(buckets: tuple[float, ...]) -> None:
    """Raise ``ValueError`` unless ``buckets`` are finite upper bounds in rising order."""
    rising = all(low < high for low, high in pairwise(buckets))
    if not buckets or not rising or not all(map(math.isfinite, buckets)):
        raise ValueError(
            f"buckets {list(buckets)} must be finite numbers in rising order, at least one"
        )


@dataclass(frozen=True)
class Metric:
    """What a metric is: its name, kind, help text, unit and label names.

    ``buckets`` are the upper bounds of a histogram, without ``+Inf``. ``closed_labels`` names
    the labels whose values are a fixed set (``status``): the cardinality limit keeps them.
    ``merge`` says how a gauge of several processes becomes one: the ``sum`` over live
    processes (things in flight) or the ``last`` value set.

    Raises ``ValueError`` on a name, label or bucket that Prometheus would refuse.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    closed_labels: frozenset[str] = frozenset()
    merge: Literal["sum", "last"] = "last"

    def __post_init__(self) -> None:
        if not _METRIC_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a legal metric name")
        if self.kind not in ("counter", "gauge", "histogram"):
            raise ValueError(f"{self.kind!r} is not a kind: use counter, gauge or histogram")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"metric {self.name!r} names a label twice: {self.labels}")
        for label in self.labels:
            check_label_name(label)
        if self.kind == "histogram":
            check_buckets(self.buckets)

    def with_labels(self, names: tuple[str, ...]) -> Metric:
        """The same metric with more labels, last."""
        return replace(self, labels=self.labels + names) if names else self


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
    """A metric of one recorder, which gives its series by label values."""

    __slots__ = ("_bind", "metric")

    def __init__(self, metric: Metric, bind: Callable[[Metric, tuple[str, ...]], S]) -> None:
        self.metric = metric
        self._bind = bind

    def labels(self, *values: object) -> S:
        """The series with these label values, in the order of ``metric.labels``.

        Values are cleaned (see ``clean_label``). Asking twice gives series that add up to one.
        Raises ``ValueError`` when the number of values is not the number of labels.
        """
        if len(values) != len(self.metric.labels):
            raise ValueError(
                f"{self.metric.name} takes {len(self.metric.labels)} label values "
                f"{self.metric.labels}, got {len(values)}"
            )
        return self._bind(self.metric, tuple(map(clean_label, values)))


class Counter(Instrument[CounterSeries]):
    """A value that only rises."""

    __slots__ = ()


class Gauge(Instrument[GaugeSeries]):
    """A value that rises and falls."""

    __slots__ = ()


class Histogram(Instrument[HistogramSeries]):
    """Values counted in buckets."""

    __slots__ = ()


class Recorder(ABC):
    """Where metrics go. A backend implements the abstract methods; sources use the rest.

    After construction no method but ``counter``, ``gauge``, ``histogram`` and
    ``observe_gauge`` may raise for a reason outside the caller's control: delivery that fails
    is counted and logged by the backend.
    """

    inner: tuple[Recorder, ...] = ()
    """The recorders a layer stands around; empty for a backend."""
    extra_labels: tuple[str, ...] = ()
    """Names of the extra dimensions, appended to every call, agent, tool and retriever metric.
    Set this and the next three before the recorder is first used."""
    latency_buckets: tuple[float, ...] | None = None
    """Upper bounds in seconds for every latency histogram; ``None`` for the catalogue's."""
    max_series: int = 2000
    """Label sets of one metric that sources may make; see ``CardinalityLimit``."""
    call_ttl_seconds: float = 21_600.0
    """A call open for longer is taken to be cancelled; see ``agentmetrics.calls``."""
    prices: Prices | None = None
    """What calls cost; ``None`` for the price list alone. Set this too before the first use."""

    def __init__(self) -> None:
        self._instruments: dict[str, Instrument[Any]] = {}
        self._attached: dict[Any, Any] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The recorder that the settings ask for; what an entry point's class is called with.

        Raises ``agentmetrics.settings.ConfigurationError`` on a setting it cannot use.
        """
        return cls()

    def counter(self, metric: Metric) -> Counter:
        return self._instrument(Counter, "counter", metric, self.bind_counter)

    def gauge(self, metric: Metric) -> Gauge:
        return self._instrument(Gauge, "gauge", metric, self.bind_gauge)

    def histogram(self, metric: Metric) -> Histogram:
        return self._instrument(Histogram, "histogram", metric, self.bind_histogram)

    def _instrument(
        self,
        cls: type[T],
        kind: Kind,
        metric: Metric,
        bind: Callable[[Metric, tuple[str, ...]], Any],
    ) -> T:
        if metric.kind != kind:
            raise ValueError(f"{metric.name} is a {metric.kind}, asked for as a {kind}")
        known = self._instruments.get(metric.name)
        if known is None:
            self.declare(metric)
            new: Any = cls(metric, bind)  # type: ignore[call-arg]
            known = self._instruments.setdefault(metric.name, new)
        check_same(known.metric, metric)
        return known  # type: ignore[return-value]

    def attached(self, factory: Callable[[Self], T]) -> T:
        """The one ``factory(self)`` that belongs to this recorder, made when first asked for.

        The table of open calls and the meters live here: however many sources share a
        recorder, they share these too.
        """
        with _attaching:
            if factory not in self._attached:
                self._attached[factory] = factory(self)
            return self._attached[factory]  # type: ignore[no-any-return]

    def declare(self, metric: Metric) -> None:  # noqa: B027
        """Take note of a metric before its first series. ``ValueError`` when it cannot be."""

    @abstractmethod
    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> CounterSeries: ...
    @abstractmethod
    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> GaugeSeries: ...
    @abstractmethod
    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> HistogramSeries: ...

    @abstractmethod
    def observe_gauge(self, metric: Metric, callback: Callable[[], Observed]) -> None:
        """Read a gauge from ``callback`` at every collection; the newest callback counts."""

    @abstractmethod
    def update(self) -> AbstractContextManager[Any]:
        """A context in which several updates become one step that no collection sees half of.

        It can be entered again and again, inside itself and from any thread; sources ask for
        it once.
        """

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        """One function for updates of always the same series, to be called inside ``update()``.

        It takes an amount for each series of ``adds``, then a value for each of ``sets``, then
        one for each of ``observations``, unchecked: the caller knows what it adds.
        """
        updates: list[Callable[[float], None]] = [series.inc for series in adds]
        updates += [series.set for series in sets]
        updates += [series.observe for series in observations]

        def apply(*values: float) -> None:
            for update, value in zip(updates, values, strict=True):
                update(value)

        return apply

    def flush(self) -> None:  # noqa: B027
        """Deliver what is not delivered yet."""

    def reset(self) -> None:  # noqa: B027
        """Set every series back to zero, except gauges of what is in flight (``merge="sum"``).

        Bound series stay usable.
        """

    def close(self) -> None:  # noqa: B027
        """Flush, and let go of threads and sockets. Updates afterwards are lost, never errors."""


def check_same(known: Metric, asked: Metric) -> None:
    """Raise ``ValueError`` when one name is used for two different metrics."""
    if (known.kind, known.labels, known.buckets) != (asked.kind, asked.labels, asked.buckets):
        raise ValueError(
            f"{asked.name} is already a {_described(known)}; asked for as a {_described(asked)}"
        )


def _described(metric: Metric) -> str:
    buckets = f" and buckets {list(metric.buckets)}" if metric.buckets else ""
    return f"{metric.kind} with labels {list(metric.labels)}{buckets}"
