"""Who takes part: a handler for every backend, and the hand-written ones."""

from __future__ import annotations

import socket

from prometheus_client import CollectorRegistry

from agentmetrics import (
    FanoutRecorder,
    MemoryRecorder,
    MetricsCallbackHandler,
    NoopRecorder,
    PrometheusRecorder,
    Recorder,
    StatsDRecorder,
)
from agentmetrics.config.loading import load_settings
from agentmetrics.pipeline import Options, pipeline_of
from benchmarks.handwritten import HandwrittenHandler, LabelsEachTimeHandler

MANY_SERIES = 20_000
"""A cardinality limit that no row comes near."""

HAND = "hand-written"
LABELS = "hand-written, `.labels()` at every update"
NOTHING = "a handler that does nothing"
BARE = "plain slots and nothing else"
CALC_PRICE = "genai_prices.calc_price"
PRICER = "a bound pricer"


def handwritten() -> HandwrittenHandler:
    return HandwrittenHandler(CollectorRegistry())


def labels_each_time() -> LabelsEachTimeHandler:
    return LabelsEachTimeHandler(CollectorRegistry())


def handler_on(recorder: Recorder, max_series: int | None = None) -> MetricsCallbackHandler:
    if max_series is not None:
        pipeline_of(recorder, Options(max_series=max_series))
    return MetricsCallbackHandler(recorder=recorder)


def noop() -> MetricsCallbackHandler:
    return handler_on(NoopRecorder())


def memory(max_series: int | None = None) -> MetricsCallbackHandler:
    return handler_on(MemoryRecorder(), max_series)


def prometheus(max_series: int | None = None) -> MetricsCallbackHandler:
    return handler_on(PrometheusRecorder(CollectorRegistry()), max_series)


def fanout() -> MetricsCallbackHandler:
    return handler_on(FanoutRecorder([MemoryRecorder(), PrometheusRecorder(CollectorRegistry())]))


_sinks: list[socket.socket] = []


def statsd() -> MetricsCallbackHandler:
    """A handler on StatsD that sends to a socket nobody reads."""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    _sinks.append(sink)  # open for as long as the benchmark runs
    settings = load_settings(statsd_host="127.0.0.1", statsd_port=sink.getsockname()[1])
    return handler_on(StatsDRecorder.from_settings(settings))
