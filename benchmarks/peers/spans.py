"""Peers that write OpenTelemetry spans: which span is a call, and which attribute holds what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from benchmarks.peers.peer import Peer, Seen


@dataclass(frozen=True)
class Convention:
    """The names of a peer's span attributes, each as a tuple of which the first that is there."""

    is_call: Callable[[Mapping[str, Any]], bool]
    model: Sequence[str]
    input_tokens: str
    output_tokens: str
    details: Mapping[str, str]


def span_peer(
    name: str,
    package: str,
    instrument: Callable[[TracerProvider, MeterProvider], None],
    convention: Convention,
) -> Peer:
    """A peer that instruments LangChain once and exports spans to memory."""
    exporter = InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    instrument(tracing, MeterProvider([InMemoryMetricReader()]))

    def watch() -> Sequence[Any]:
        exporter.clear()
        return ()

    def seen() -> Sequence[Seen]:
        spans = exporter.get_finished_spans()
        return [_seen(s, convention) for s in spans if convention.is_call(s.attributes or {})]

    return Peer(name, package, watch, seen)


def _seen(span: ReadableSpan, convention: Convention) -> Seen:
    attributes = span.attributes or {}
    counts = {name: attributes.get(where) for name, where in convention.details.items()}
    models = (attributes.get(where) for where in convention.model)
    return Seen(
        "error" if span.status.status_code is StatusCode.ERROR else "success",
        next((str(model) for model in models if model), None),
        _count(attributes.get(convention.input_tokens)),
        _count(attributes.get(convention.output_tokens)),
        {name: count for name, value in counts.items() if (count := _count(value))},
    )


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
