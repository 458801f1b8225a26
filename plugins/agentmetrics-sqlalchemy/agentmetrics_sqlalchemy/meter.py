"""Queries and connection pools as metrics."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NamedTuple, Protocol

from agentmetrics.plugin import Batch, Bundles, CounterSeries, HistogramSeries, Instruments, row
from agentmetrics_sqlalchemy.operations import CONNECT

Labels = tuple[str, ...]


class PoolReading(NamedTuple):
    """What a pool has now; ``most`` is 0 where it opens as many connections as are asked for."""

    active: int
    idle: int
    most: int


class Pooled(Protocol):
    """An engine as the meter knows it."""

    pool_name: str

    def pool_reading(self, meter: DatabaseMeter) -> PoolReading | None:
        """What its pool has; ``None`` where that is gone, or recorded elsewhere by now."""


class DatabaseMeter:
    """The instruments of databases; pools of one name add up."""

    def __init__(self, make: Instruments) -> None:
        self.queries = make.counter(row("db_queries_total"))
        self.errors = make.counter(row("db_errors_total"))
        self.slow_queries = make.counter(row("db_slow_queries_total"))
        self.duration = make.histogram(row("db_query_duration_seconds"))
        self.batch = make.recorder.batch
        self.step = make.recorder.update()
        self.wait = make.histogram(row("db_checkout_wait_seconds"))
        self.of_operation: Bundles[OperationSeries] = Bundles(
            lambda operation: OperationSeries(self, operation)
        )
        self.not_sent: Bundles[NotSent] = Bundles(lambda operation: NotSent(self, operation))
        self.of_pool: Bundles[PoolSeries] = Bundles(lambda name: PoolSeries(self, name))
        self._engines: weakref.WeakSet[Pooled] = weakref.WeakSet()
        make.observe(row("db_connections_active"), self._active)
        make.observe(row("db_connections_idle"), self._idle)
        make.observe(row("db_connections_max"), self._most)

    def follow(self, engine: Pooled) -> None:
        """Read the pool of this engine at every collection, for as long as it lives."""
        with self.step:
            self._engines.add(engine)

    def _active(self) -> dict[Labels, float]:
        return self._by_name(lambda readings: sum(reading.active for reading in readings))

    def _idle(self) -> dict[Labels, float]:
        return self._by_name(lambda readings: sum(reading.idle for reading in readings))

    def _most(self) -> dict[Labels, float]:
        return self._by_name(_most)

    def _by_name(self, read: Callable[[list[PoolReading]], float]) -> dict[Labels, float]:
        with self.step:
            engines = list(self._engines)
        readings: dict[Labels, list[PoolReading]] = {}
        for engine in engines:
            reading = engine.pool_reading(self)
            if reading is not None:
                readings.setdefault((engine.pool_name,), []).append(reading)
        return {name: read(of_name) for name, of_name in readings.items()}


def _most(readings: list[PoolReading]) -> float:
    """No limit if one of them has none."""
    most = [reading.most for reading in readings]
    return sum(most) if all(most) else 0


class OperationSeries:
    """The series of one operation."""

    __slots__ = ("_errors", "_finish", "_slow", "_step")

    def __init__(self, meter: DatabaseMeter, operation: str) -> None:
        self._step = meter.step
        # Made with the first query, to show 0: increase() misses what a series begins with.
        self._errors: CounterSeries = meter.errors.labels(operation)
        self._slow: CounterSeries = meter.slow_queries.labels(operation)
        queries, duration = meter.queries.labels(operation), meter.duration.labels(operation)
        self._finish: Batch = meter.batch((queries,), (), (duration,))

    def ended(self, seconds: float, slow_seconds: float, *, is_error: bool) -> None:
        """Record a query that was sent and took so long, however it ended."""
        with self._step:
            self._finish(1.0, seconds)
            if seconds > slow_seconds:
                self._slow.inc()
            if is_error:
                self._errors.inc()

    def failed(self) -> None:
        """Record that a query which has ended was an error after all."""
        self._errors.inc()


class NotSent:
    """Queries of one operation that failed before there was a duration to measure."""

    __slots__ = ("_errors", "_queries", "_step")

    def __init__(self, meter: DatabaseMeter, operation: str) -> None:
        self._step = meter.step
        self._queries: CounterSeries = meter.queries.labels(operation)
        self._errors: CounterSeries = meter.errors.labels(operation)

    def count(self) -> None:
        with self._step:
            self._queries.inc()
            self._errors.inc()


class PoolSeries:
    """The series of the pools of one name."""

    __slots__ = ("_not_connected", "_step", "_wait")

    def __init__(self, meter: DatabaseMeter, pool_name: str) -> None:
        self._step = meter.step
        self._wait: HistogramSeries = meter.wait.labels(pool_name)
        self._not_connected = meter.not_sent[(CONNECT,)]  # shows 0 from the first checkout on

    def waited(self, seconds: float, *, is_error: bool) -> None:
        """Record that a connection was waited for, and whether none could be had."""
        with self._step:
            self._wait.observe(seconds)
            if is_error:
                self._not_connected.count()
