"""One Celery task, as a worker traces it from the message to the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from time import process_time
from typing import Any

from celery import Celery, signals
from celery.app.trace import build_tracer
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from agentmetrics import PrometheusRecorder
from agentmetrics_celery import instrument_app
from benchmarks.measure import Row, Timer, interleaved

BARE = "Celery"
OURS = "agentmetrics-celery"
PEER = "opentelemetry-instrumentation-celery"

SIGNALS = (signals.task_prerun, signals.task_postrun, signals.task_internal_error)
"""Those of a task that succeeds, and of one whose end cannot be stored."""

Receivers = list[list[Any]]


def measure(rounds: int) -> Row:
    """CPU seconds of a task that does nothing; the bare one is first.

    Ours counts and times the task and its wait, in a Prometheus registry. The peer has the duration
    as a metric of a ``MeterProvider``, and the rest in spans alone, so it gets a tracer of the SDK,
    whose spans go nowhere. Signals are the process' own: each contender's receivers are put in
    place for its turn.
    """
    app = Celery("bench", set_as_current=False)
    before = _receivers()
    instrumentor = CeleryInstrumentor()
    try:
        instrument_app(app, recorder=PrometheusRecorder(CollectorRegistry()))
        ours = _taken(before)
        instrumentor.instrument(
            tracer_provider=TracerProvider(),
            meter_provider=MeterProvider([InMemoryMetricReader()]),
            skip_dep_check=True,
        )
        peer = _taken(before)
        run = _traced(app)
        timers = {
            name: _timer(run, receivers)
            for name, receivers in ((BARE, before), (OURS, ours), (PEER, peer))
        }
        return interleaved(timers, loops=200, rounds=rounds)
    finally:
        instrumentor.uninstrument()
        _put(before)


def _receivers() -> Receivers:
    return [list(signal.receivers) for signal in SIGNALS]


def _put(receivers: Receivers) -> None:
    for signal, those in zip(SIGNALS, receivers, strict=True):
        signal.receivers[:] = those  # in place: a tracer keeps the list


def _taken(before: Receivers) -> Receivers:
    """The receivers that are there now; those of before are put back."""
    now = _receivers()
    _put(before)
    return now


def _traced(app: Celery) -> Callable[[], None]:
    @app.task(name="nothing", ignore_result=True)
    def nothing() -> None: ...

    app.finalize()
    trace = build_tracer("nothing", app.tasks["nothing"], app=app)
    headers = {
        "id": "0b0b",
        "task": "nothing",
        "root_id": "0b0b",
        "retries": 0,
        "hostname": "bench",
        "delivery_info": {"exchange": "", "routing_key": "celery", "redelivered": False},
        "agentmetrics_due": time.time(),
    }

    def run() -> None:
        ended = trace("0b0b", (), {}, headers)
        assert ended.info is None, ended

    return run


def _timer(run: Callable[[], None], receivers: Receivers) -> Timer:
    def timed(loops: int) -> float:
        _put(receivers)
        began = process_time()
        for _ in range(loops):
            run()
        return process_time() - began

    return timed
