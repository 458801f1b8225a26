"""One query through SQLAlchemy: a connection from the pool, ``SELECT 1``, and back."""

from __future__ import annotations

from time import process_time

from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracerProvider
from opentelemetry.trace import TracerProvider as AnyTracerProvider
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, create_engine, text

from agentmetrics import PrometheusRecorder
from agentmetrics_sqlalchemy import instrument_engine
from benchmarks.measure import Measured, Timer, interleaved

BARE = "SQLAlchemy"
OURS = "agentmetrics-sqlalchemy"
PEER = "opentelemetry-instrumentation-sqlalchemy"
PEER_UNTRACED = "the same without tracing"


def measure(rounds: int) -> dict[str, Measured]:
    """CPU seconds of a query, in SQLite's memory; the bare engine is first.

    Ours counts and times the query and the wait for the connection, in a Prometheus registry. The
    peer knows queries as spans alone and counts connections, in a ``MeterProvider``. As ``PEER`` it
    has a tracer of the SDK whose spans go nowhere, so exporting them would be more; as
    ``PEER_UNTRACED`` it records nothing of queries, neither a count nor a duration.
    """
    contenders = {
        BARE: _engine(),
        OURS: _ours(),
        PEER: _peer(TracerProvider()),
        PEER_UNTRACED: _peer(NoOpTracerProvider()),
    }
    timers = {name: _timer(engine) for name, engine in contenders.items()}
    return interleaved(timers, loops=300, rounds=rounds)


def _engine() -> Engine:
    return create_engine("sqlite://")


def _ours() -> Engine:
    engine = _engine()
    instrument_engine(engine, recorder=PrometheusRecorder(CollectorRegistry()))
    return engine


def _peer(tracers: AnyTracerProvider) -> Engine:
    engine = _engine()
    instrumentor = SQLAlchemyInstrumentor()
    instrumentor.instrument(
        engine=engine,
        tracer_provider=tracers,
        meter_provider=MeterProvider([InMemoryMetricReader()]),
    )
    return engine


def _timer(engine: Engine) -> Timer:
    statement = text("SELECT 1")

    def run(loops: int) -> float:
        began = process_time()
        for _ in range(loops):
            with engine.connect() as connection:
                connection.execute(statement).scalar()
        return process_time() - began

    return run
