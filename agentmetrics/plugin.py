"""What a plugin may use beside the public names: for backends, meters and sources of its own.

A plugin is a distribution of its own that imports ``agentmetrics`` and this module, and nothing
below them. What is listed here stays, or is deprecated for a minor version first; every other
module may change at any time. ``docs/plugins.md`` has a complete backend and a complete source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentmetrics.backends.changes import Changes, Line, SampledHistogram, SendingStore
from agentmetrics.backends.delivery import Connection, Datagrams, HostRoute, Route, Stream
from agentmetrics.backends.sending import SendingRecorder
from agentmetrics.budget.ledger.url import without_password
from agentmetrics.calls.attribution import attribute, nearest_run
from agentmetrics.calls.context import extra_values, run_here
from agentmetrics.calls.facts import (
    AgentRun,
    Ceiling,
    LLMCall,
    RetrieverQuery,
    Scope,
    ToolExecution,
    Unread,
)
from agentmetrics.calls.outcome import add_control_flow
from agentmetrics.calls.table import OpenTable, OwnRunId, RunId
from agentmetrics.catalog import LATENCY_BUCKETS
from agentmetrics.config.active import pipeline_for
from agentmetrics.exposition import (
    make_asgi_app,
    make_wsgi_app,
    prometheus_recorder,
    start_http_server_in_thread,
)
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.bundle import Bundles
from agentmetrics.pipeline import CeilingOf, Gate, Hearer, Options, Pipeline, pipeline_of
from agentmetrics.providers.error_types import add_class_names, add_reader
from agentmetrics.recording.exemplars import Exemplar, SpanContext, span_here
from agentmetrics.recording.exits import Closable, close_all, close_at_exit, skip_at_exit
from agentmetrics.recording.fork import (
    ForkAware,
    ForkSafeLock,
    notice_fork,
    renewed_lock,
    watch_forks,
)
from agentmetrics.recording.health import PACKETS_DROPPED
from agentmetrics.recording.instruments import (
    Batch,
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    Observed,
)
from agentmetrics.recording.known import known_metric, make_known, unknown_metric
from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import Metric, clean_label
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.said import QuietLogger
from agentmetrics.recording.store import (
    ExemplarHistogram,
    Store,
    StoredCounter,
    StoredGauge,
    StoredHistogram,
    StoreRecorder,
)
from agentmetrics.recording.values import Family, HistogramValue, Sample, Value
from agentmetrics.sources.blocks import Block
from agentmetrics.sources.event_loop import watch_event_loop_if_asked
from agentmetrics.sources.frameworks import Framework, Placed, add_framework, when_imported
from agentmetrics.sources.surroundings import call_here

__all__ = [
    "LATENCY_BUCKETS",
    "PACKETS_DROPPED",
    "AgentRun",
    "Batch",
    "Block",
    "Bundles",
    "Ceiling",
    "CeilingOf",
    "Changes",
    "Closable",
    "Connection",
    "CounterSeries",
    "Datagrams",
    "Exemplar",
    "ExemplarHistogram",
    "Family",
    "ForkAware",
    "ForkSafeLock",
    "Framework",
    "Gate",
    "GaugeSeries",
    "Hearer",
    "HistogramSeries",
    "HistogramValue",
    "HostRoute",
    "Instruments",
    "LLMCall",
    "Layer",
    "Line",
    "LogOnce",
    "Observed",
    "OpenTable",
    "Options",
    "OwnRunId",
    "PeriodicFlush",
    "Pipeline",
    "Placed",
    "QuietLogger",
    "RetrieverQuery",
    "Route",
    "RunId",
    "Sample",
    "SampledHistogram",
    "Scope",
    "SendingRecorder",
    "SendingStore",
    "SpanContext",
    "Store",
    "StoreRecorder",
    "StoredCounter",
    "StoredGauge",
    "StoredHistogram",
    "Stream",
    "ToolExecution",
    "Unread",
    "Value",
    "add_class_names",
    "add_control_flow",
    "add_framework",
    "add_reader",
    "add_rows",
    "attribute",
    "call_here",
    "clean_label",
    "close_all",
    "close_at_exit",
    "extra_values",
    "make_asgi_app",
    "make_wsgi_app",
    "nearest_run",
    "notice_fork",
    "pipeline_for",
    "pipeline_of",
    "prometheus_recorder",
    "renewed_lock",
    "row",
    "run_here",
    "skip_at_exit",
    "span_here",
    "start_http_server_in_thread",
    "watch_event_loop_if_asked",
    "watch_forks",
    "when_imported",
    "without_password",
]


def add_rows(*metrics: Metric, label_values: Mapping[str, Sequence[str]] | None = None) -> None:
    """Put metrics of the plugin's own beside the catalogue's: readings then know their names.

    ``label_values`` are the values of those of their labels that have a fixed set
    (``Metric.closed_labels``). Call it where the plugin's module is imported.

    Raises ``ValueError`` for a name that is another metric's already, as the catalogue's are.
    """
    make_known(metrics, label_values or {})


def row(name: str) -> Metric:
    """The metric of this name, of the catalogue or of a plugin: for those who record it.

    Raises ``agentmetrics.UnknownMetricError`` for a name that is no metric's.
    """
    found = known_metric(name)
    if found is None:
        raise unknown_metric(name, ())
    return found
