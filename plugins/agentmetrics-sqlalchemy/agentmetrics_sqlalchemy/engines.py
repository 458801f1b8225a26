"""Instrumented engines: which there are, and what is recorded of each."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.engine.base import OptionEngine

from agentmetrics import ConfigurationError, Recorder
from agentmetrics.plugin import ForkSafeLock, Pipeline, clean_label, pipeline_for
from agentmetrics_sqlalchemy.meter import DatabaseMeter, PoolReading
from agentmetrics_sqlalchemy.pools import WatchedPools
from agentmetrics_sqlalchemy.queries import TimedQueries

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

SLOW_VARIABLE = "AGENTMETRICS_SQLALCHEMY_SLOW_SECONDS"
SLOW_SECONDS = 1.0
"""A query that takes longer is slow, unless the call or the environment says otherwise."""


class InstrumentedEngine:
    """An engine that is recorded until ``remove()``, or until it is garbage."""

    def __init__(
        self, engine: Engine, recorder: Recorder | None, pool_name: str, slow_seconds: float
    ) -> None:
        self.recorder, self.pool_name, self.slow_seconds = recorder, pool_name, slow_seconds
        self._engine = weakref.ref(engine)
        self._pipeline: Pipeline | None = None
        self._meter: DatabaseMeter
        self._pools = pools = WatchedPools(self._waited, self._failed)
        self._queries = TimedQueries(self._now, slow_seconds, pools.is_connecting, self._failed)
        self._now()
        self._queries.begin(engine)
        self._pools.watch(engine.pool)

    def remove(self) -> None:
        """Record nothing more of this engine, whose gauges vanish; it may come twice."""
        engine = self._engine()
        with _lock:
            if engine is None or _instrumented.get(engine) is not self:
                return
            del _instrumented[engine]
        self._queries.end(engine)
        self._pools.unwatch(engine.pool)

    def pool_reading(self, meter: DatabaseMeter) -> PoolReading | None:
        """What its pool has now; see ``meter.Pooled``."""
        engine = self._engine()
        if engine is None or meter is not self._meter:
            return None
        return self._pools.reading(engine.pool)

    def _now(self) -> DatabaseMeter:
        pipeline = pipeline_for(self.recorder)
        if pipeline is not self._pipeline:  # the first time, or configure() was called since
            self._meter = pipeline.meter(DatabaseMeter)
            self._meter.follow(self)
            self._pipeline = pipeline
        return self._meter

    def _waited(self, seconds: float, error: BaseException | None) -> None:
        try:
            series = self._now().of_pool[(self.pool_name,)]
            series.waited(seconds, is_error=isinstance(error, Exception))  # not if cancelled
        except Exception as problem:
            self._failed("db_checkout", problem)

    def _failed(self, event: str, error: Exception) -> None:
        with suppress(Exception):  # the settings may be wrong by now
            pipeline_for(self.recorder).failed(event, error)


_instrumented: weakref.WeakKeyDictionary[Engine, InstrumentedEngine] = weakref.WeakKeyDictionary()
_lock = ForkSafeLock()


def instrument_engine(
    engine: Engine | AsyncEngine,
    *,
    recorder: Recorder | None = None,
    pool: str | None = None,
    slow_seconds: float | None = None,
) -> InstrumentedEngine:
    """Record the queries and connections of an engine under ``db_*``, until ``remove()``.

    Engines that ``execution_options`` made from it are recorded with it, and stand for it here.
    ``pool`` is the value of the label; engines of one name add up. By default it is the engine's
    ``pool_logging_name``, or ``logging_name``, or the name of its dialect, such as ``postgresql``.
    ``slow_seconds`` is above which duration a query is slow, by default
    ``AGENTMETRICS_SQLALCHEMY_SLOW_SECONDS``, or 1. ``recorder`` defaults to the configured one.
    An engine that is recorded already stays as it is: calling this twice does not count twice.

    Raises ``agentmetrics.ConfigurationError`` for anything that is no engine, for a threshold that
    is not above 0, for an engine that is recorded already with other arguments, and when the
    environment's settings are invalid.
    """
    found = _engine_of(engine)
    name = clean_label(pool or found.pool.logging_name or found.logging_name or found.name)
    slow = _slow_seconds(slow_seconds)
    with _lock:
        known = _instrumented.get(found)
        if known is None:
            _instrumented[found] = known = InstrumentedEngine(found, recorder, name, slow)
        elif (known.recorder, known.pool_name, known.slow_seconds) != (recorder, name, slow):
            raise ConfigurationError(
                f"this engine is instrumented already, with pool={known.pool_name!r} and "
                f"slow_seconds={known.slow_seconds:g}: instrument it once, or call remove() on "
                "what instrument_engine() returned before"
            )
    return known


def _engine_of(engine: object) -> Engine:
    found = getattr(engine, "sync_engine", engine)
    while isinstance(found, OptionEngine):
        found = found._proxied
    if not isinstance(found, Engine):
        raise ConfigurationError(
            f"instrument_engine() takes an Engine or an AsyncEngine, not {type(engine).__name__}: "
            "pass what create_engine() or create_async_engine() returned"
        )
    return found


def _slow_seconds(given: float | None) -> float:
    if given is not None:
        if not isinstance(given, int | float) or not given > 0:
            raise ConfigurationError(
                f"slow_seconds={given!r} must be a number of seconds above 0: slow_seconds=0.5"
            )
        return float(given)
    text = os.environ.get(SLOW_VARIABLE)
    if not text:
        return SLOW_SECONDS
    seconds = 0.0
    with suppress(ValueError):
        seconds = float(text)
    if not seconds > 0:
        raise ConfigurationError(
            f"{SLOW_VARIABLE}={text!r} must be a number of seconds above 0: {SLOW_VARIABLE}=0.5"
        )
    return seconds
