"""Where the instruments are: on the provider that the user has set, or on one of our own."""

from __future__ import annotations

import contextvars
import logging
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

from opentelemetry.metrics import MeterProvider, NoOpMeterProvider, get_meter_provider
from opentelemetry.metrics._internal import _ProxyMeterProvider
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
)
from opentelemetry.sdk.metrics import MeterProvider as SDKMeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

from agentmetrics.plugin import LogOnce, Store, renewed_lock
from agentmetrics_otel.readings import Live, Moment, Reading, Totals
from agentmetrics_otel.rows import Rows, rows_of

FLUSH_MILLIS = 10_000
"""How long a flush of somebody's provider may take."""


def users_provider() -> MeterProvider | None:
    """The global provider, where somebody has set one.

    The API has no way to ask; before one is set it gives a stand-in of this class.
    """
    provider = get_meter_provider()
    return None if isinstance(provider, _ProxyMeterProvider) else provider


class Outlet(ABC):
    """Instruments, and how what they hold is delivered."""

    rows: Rows

    @abstractmethod
    def flush(self) -> None:
        """Deliver now; never raises."""

    @abstractmethod
    def close(self) -> None:
        """Deliver for the last time, and let go."""


class UsersOutlet(Outlet):
    """Instruments on somebody's provider, whose readers, views and interval are theirs."""

    def __init__(self, provider: MeterProvider, store: Store, problems: LogOnce) -> None:
        self._provider, self._store, self._problems = provider, store, problems
        self.rows = rows_of(provider)
        self._reading: Reading = Live(store)
        self.rows.add(self._reading)

    def flush(self) -> None:
        flush: Callable[[float], bool] | None = getattr(self._provider, "force_flush", None)
        if flush is None:  # the API alone has none
            return
        try:
            flush(FLUSH_MILLIS)
        except Exception as error:
            name = type(error).__name__
            self._problems.warn(("flush", name), "the MeterProvider could not flush: %s", name)

    def close(self) -> None:
        with hushed():  # at the end of a program it may be shut down already
            self.flush()
        self.rows.replace(self._reading, Totals(self._store))


class OwnOutlet(Outlet):
    """Instruments on a provider of our own, which exports by OTLP when it is told to.

    It has no thread: a thread of the SDK's would go on in a forked child with what is the
    parent's.
    """

    def __init__(
        self,
        exporter: MetricExporter,
        resource: Resource,
        store: Store,
        exported: Callable[[str | None], None],
    ) -> None:
        self._store, self._exported = store, exported
        self._flushing = renewed_lock()
        self._watched = _Watched(exporter)
        self._reader = PeriodicExportingMetricReader(
            self._watched, export_interval_millis=math.inf, **_no_limits()
        )
        self._provider = SDKMeterProvider([self._reader], resource, shutdown_on_exit=False)
        self.rows = Rows(self._provider)

    def flush(self) -> None:
        with self._flushing:
            self.rows.readings = (Moment(self._store),)
            self._watched.problem = None
            try:
                self._reader.collect()
                problem = self._watched.problem
            except Exception as error:
                problem = type(error).__name__
        self._exported(problem)

    def close(self) -> None:
        self.flush()
        with hushed():
            self._provider.shutdown()


def _no_limits() -> dict[str, Any]:
    """No limit of the SDK's on series, where it has one: ours counts what it drops."""
    if "cardinality_limits" not in signature(PeriodicExportingMetricReader).parameters:
        return {}
    instruments = (Histogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge, Counter)
    return {"cardinality_limits": dict.fromkeys(instruments, sys.maxsize)}


class NoOutlet(Outlet):
    """Instruments that nobody reads: ``OTEL_METRICS_EXPORTER=none``, ``OTEL_SDK_DISABLED``."""

    def __init__(self) -> None:
        self.rows = Rows(NoOpMeterProvider())

    def flush(self) -> None:
        """Nothing is delivered."""

    def close(self) -> None:
        """Nothing was begun."""


class _Watched(MetricExporter):
    """An exporter that keeps why it failed, and leaves it to us to say so."""

    def __init__(self, exporter: MetricExporter) -> None:
        super().__init__(  # as the SDK's own readers ask for them
            preferred_temporality=exporter._preferred_temporality,
            preferred_aggregation=exporter._preferred_aggregation,
        )
        self._exporter = exporter
        self.problem: str | None = None

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        result, self.problem = attempt(self._exporter, metrics_data)
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis)


def attempt(exporter: MetricExporter, data: MetricsData) -> tuple[MetricExportResult, str | None]:
    """Export, within the exporter's own timeout; what came of it, and why it failed."""
    with hushed() as said:
        try:
            result = exporter.export(data)
        except Exception as error:
            return MetricExportResult.FAILURE, type(error).__name__
    if result is MetricExportResult.SUCCESS:
        return result, None
    return result, _reason(said)


def _reason(said: list[logging.LogRecord]) -> str:
    """A status or the class of an error. Texts may have a secret in them, as URLs do."""
    for record in said:
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, BaseException):
                return type(argument).__name__
            if isinstance(argument, int) and 300 <= argument < 600:
                return f"HTTP status {argument}"
    return "it cannot be reached, or does not answer in time"


_said: contextvars.ContextVar[list[logging.LogRecord] | None] = contextvars.ContextVar(
    "agentmetrics_otel_said", default=None
)


class _Hush(logging.Filter):
    """Takes what exporters log while they work for us: they would repeat it at every export."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = _said.get()
        if said is None:
            return True
        said.append(record)
        return False


_HUSH = _Hush()
_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
)


@contextmanager
def hushed() -> Iterator[list[logging.LogRecord]]:
    """What exporters log in this block; it goes nowhere else."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_HUSH)
    said: list[logging.LogRecord] = []
    token = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(token)
