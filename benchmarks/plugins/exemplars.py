"""One LLM call in a sampled span, with exemplars and without: ours, and prometheus-client's own.

The peer looks at the span once a call, and passes prometheus-client's ``observe`` what it found.
Measured is CPU time.
"""

from __future__ import annotations

from time import process_time
from typing import Any

from langchain_core.outputs import LLMResult
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, Histogram

from agentmetrics import PrometheusRecorder
from benchmarks import contenders as who
from benchmarks.handwritten import HandwrittenHandler
from benchmarks.measure import Row, Timer, interleaved
from benchmarks.workload import agent_names, calls_of, drive

PEER_WITHOUT = "hand-written, no exemplars"
PEER = "hand-written, exemplars"
OURS_WITHOUT = "agentmetrics, no exemplars"
OURS = "agentmetrics, exemplars"
OURS_OUTSIDE = "agentmetrics, exemplars, in no span"


def measure(rounds: int) -> Row:
    """The start and the end of a call; the first is what stands as 1."""
    ours = who.prometheus()
    without = PrometheusRecorder(CollectorRegistry(), exemplars=False)
    timers = {
        PEER_WITHOUT: _in_a_span(who.handwritten()),
        PEER: _in_a_span(WithExemplars(CollectorRegistry())),
        OURS_WITHOUT: _in_a_span(who.handler_on(without)),
        OURS: _in_a_span(ours),
        OURS_OUTSIDE: _timer(ours),
    }
    return interleaved(timers, loops=200, rounds=rounds)


def _timer(handler: Any) -> Timer:
    names = agent_names(1)

    def timer(loops: int) -> float:
        calls = calls_of(names, 0, loops)
        began = process_time()
        drive(handler, calls)
        return process_time() - began

    return timer


def _in_a_span(handler: Any) -> Timer:
    tracer, timer = TracerProvider().get_tracer("benchmark"), _timer(handler)

    def in_a_span(loops: int) -> float:
        with tracer.start_as_current_span("request"):
            return timer(loops)

    return in_a_span


class WithExemplars(HandwrittenHandler):
    """The hand-written handler, whose histograms of every call have exemplars."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.exemplar: dict[str, str] | None = None
        for name in ("latency", "api_latency", "call_cost"):
            setattr(self._metrics, name, _Observing(getattr(self._metrics, name), self))

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        span = trace.get_current_span().get_span_context()
        self.exemplar = None
        if span.trace_flags.sampled:
            self.exemplar = {
                "trace_id": trace.format_trace_id(span.trace_id),
                "span_id": trace.format_span_id(span.span_id),
            }
        super().on_llm_end(response, **kwargs)


class _Observing:
    """A histogram of the handler, or a child of it, that observes with the call's exemplar."""

    __slots__ = ("_handler", "_histogram")

    def __init__(self, histogram: Histogram, handler: WithExemplars) -> None:
        self._histogram, self._handler = histogram, handler

    def labels(self, *values: str) -> _Observing:
        return _Observing(self._histogram.labels(*values), self._handler)

    def observe(self, value: float) -> None:
        self._histogram.observe(value, self._handler.exemplar)
