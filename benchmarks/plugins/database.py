"""One query through SQLAlchemy: a connection from the pool, ``SELECT 1``, and back."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, create_engine, text

from agentmetrics import PrometheusRecorder
from agentmetrics_sqlalchemy import instrument_engine
from benchmarks.measure import Row, Timer, interleaved

BARE = "SQLAlchemy"
OURS = "agentmetrics-sqlalchemy"
PEER = "opentelemetry-instrumentation-sqlalchemy"

Connect = Callable[[Engine], Connection]


def measure(rounds: int) -> Row:
    """CPU seconds of a query, in SQLite's memory; the bare engine is first.

    Ours counts and times the query and the wait for the connection, in a Prometheus registry. The
    peer has connections as a metric of a ``MeterProvider``, and queries as spans alone, so it gets
    a tracer of the SDK, whose spans go nowhere: without one it would record nothing of a query.
    """
    connect = Engine.connect  # which the peer replaces for every engine
    instrumentor = SQLAlchemyInstrumentor()
    try:
        timers = {
            BARE: _timer(_engine(), connect),
            OURS: _timer(_ours(), connect),
            PEER: _timer(_peer(instrumentor), Engine.connect),
        }
        return interleaved(timers, loops=200, rounds=rounds)
    finally:
        instrumentor.uninstrument()


def _engine() -> Engine:
    return create_engine("sqlite://")


def _ours() -> Engine:
    engine = _engine()
    instrument_engine(engine, recorder=PrometheusRecorder(CollectorRegistry()))
    return engine


def _peer(instrumentor: SQLAlchemyInstrumentor) -> Engine:
    engine = _engine()
    instrumentor.instrument(
        engine=engine,
        tracer_provider=TracerProvider(),
        meter_provider=MeterProvider([InMemoryMetricReader()]),
        skip_dep_check=True,  # it knows SQLAlchemy before 2.1 by name, and works with it
    )
    return engine


def _timer(engine: Engine, connect: Connect) -> Timer:
    statement = text("SELECT 1")

    def run(loops: int) -> float:
        began = process_time()
        for _ in range(loops):
            with connect(engine) as connection:
                connection.execute(statement).scalar()
        return process_time() - began

    return run
