"""The backend-agnostic interface: where metrics go."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

    from agentmetrics.config.settings import Settings
    from agentmetrics.pricing import Prices
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
from agentmetrics.recording.metric import (
    Kind,
    Metric,
    check_same,
)

_attaching = threading.RLock()
T = TypeVar("T")


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
