"""One LLM call on the OpenTelemetry SDK: ours, and a handler written by hand on its API.

The peer makes the same updates of the same instruments, thirteen a call, with attributes that it
looks up once. Measured is CPU time, and one collection for every so many calls is part of it: ours
leaves to that what the other does at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import process_time
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from agentmetrics import MetricsCallbackHandler
from agentmetrics_otel import OTelRecorder
from agentmetrics_otel.conventions import OPT_IN
from benchmarks.contenders import NOTHING
from benchmarks.handwritten import HandwrittenHandler, NoopHandler
from benchmarks.measure import Row, Timer, interleaved
from benchmarks.workload import agent_names, calls_of, drive

OURS = "agentmetrics-otel"
OURS_GEN_AI = "agentmetrics-otel, names of the GenAI conventions"
PEER = "a hand-written handler on OpenTelemetry's API"

CALLS_TO_A_COLLECTION = 200
"""Three calls a second and an interval of a minute are about as many."""


def measure(rounds: int) -> Row:
    """The start and the end of a call."""
    timers = {
        NOTHING: _timer(NoopHandler(), lambda: None),
        PEER: _on_a_provider(lambda provider: ByHand(provider.get_meter("by hand"))),
        OURS: _on_a_provider(_ours),
        OURS_GEN_AI: _on_a_provider(_ours_by_the_conventions),
    }
    return interleaved(timers, loops=CALLS_TO_A_COLLECTION, rounds=rounds)


def _timer(handler: Any, collect: Callable[[], object]) -> Timer:
    names, done = agent_names(1), 0

    def timer(loops: int) -> float:
        nonlocal done
        calls = calls_of(names, done, loops)
        done += loops
        began = process_time()
        drive(handler, calls)
        collect()
        return process_time() - began

    return timer


def _on_a_provider(handler_on: Callable[[MeterProvider], Any]) -> Timer:
    reader = InMemoryMetricReader()
    return _timer(handler_on(MeterProvider([reader])), reader.get_metrics_data)


def _ours(provider: MeterProvider) -> MetricsCallbackHandler:
    return MetricsCallbackHandler(OTelRecorder(provider))


def _ours_by_the_conventions(provider: MeterProvider) -> MetricsCallbackHandler:
    before = os.environ.get(OPT_IN)
    os.environ[OPT_IN] = "gen_ai_latest_experimental"
    try:
        return _ours(provider)
    finally:
        if before is None:
            del os.environ[OPT_IN]
        else:
            os.environ[OPT_IN] = before


class ByHand(HandwrittenHandler):
    """The hand-written handler, its metrics being OpenTelemetry's."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(CollectorRegistry())
        metrics = self._metrics
        for name, metric in vars(metrics).items():
            setattr(metrics, name, _Instrument(meter, metric))


class _Instrument:
    """As prometheus-client has it: bound to attributes once."""

    def __init__(self, meter: Meter, metric: Any) -> None:
        self._labels = metric._labelnames
        name = metric._name
        if metric._type == "counter":
            self._update = meter.create_counter(name).add
        elif metric._type == "histogram":
            self._update = meter.create_histogram(
                name, explicit_bucket_boundaries_advisory=metric._kwargs["buckets"]
            ).record
        elif name == "llm_active_calls":
            self._update = meter.create_up_down_counter(name).add
        else:
            self._update = meter.create_gauge(name).set

    def labels(self, *values: str) -> _Series:
        return _Series(self._update, dict(zip(self._labels, values, strict=True)))


class _Series:
    def __init__(self, update: Callable[..., None], attributes: dict[str, str]) -> None:
        self._update, self._attributes = update, attributes

    def inc(self, amount: float = 1) -> None:
        self._update(amount, self._attributes)

    set = observe = inc

    def dec(self) -> None:
        self._update(-1, self._attributes)
