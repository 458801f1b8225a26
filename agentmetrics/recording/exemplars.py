"""Exemplars: which OpenTelemetry span an observation was made in.

OpenTelemetry is not imported here: a program that has not imported it has no spans, and pays for
one look into ``sys.modules``.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import modules
from threading import local
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from agentmetrics.recording.collector import COLLECTING, is_collecting

T = TypeVar("T")

OPENTELEMETRY: Final = "opentelemetry.trace"
"""The module that is there once the program has imported OpenTelemetry."""


class SpanContext(Protocol):
    """What is needed of OpenTelemetry's ``SpanContext``: the ids, and no name or attribute."""

    @property
    def trace_id(self) -> int: ...
    @property
    def span_id(self) -> int: ...


class Exemplar(NamedTuple):
    """An observation of a histogram, with the Unix time in seconds at which it was made."""

    value: float
    timestamp: float
    span: SpanContext

    @property
    def labels(self) -> dict[str, str]:
        """The ids in hexadecimal digits, as in the W3C's ``traceparent`` header.

        With their names they are 63 characters; OpenMetrics 1.0 allows 128.
        """
        return {
            "trace_id": format(self.span.trace_id, "032x"),
            "span_id": format(self.span.span_id, "016x"),
        }


def current_span() -> SpanContext | None:
    """The span that is current here, if it is sampled: no other can be looked up later."""
    trace: Any = modules.get(OPENTELEMETRY)
    if trace is None or (COLLECTING[0] and is_collecting()):
        return None
    try:
        if not modules[_CONTEXT].get_current():  # an empty one has no span: a third of the time
            return None
        span: Any = trace.get_current_span().get_span_context()
        return span if span.is_valid and span.trace_flags & _SAMPLED else None
    except Exception:  # half imported by another thread, or a tracer's own kind of span
        return None


def span_here() -> SpanContext | None:
    """The span that what is observed now was made in: the one that was told, else the current."""
    span = told.span
    return current_span() if span is _NOT_TOLD else span


def record_in(span: SpanContext | None, record: Callable[[T], None], fact: T) -> None:
    """Call ``record(fact)``: what it observes was made in this span, or in none.

    Whichever is current now may be that of somebody else, who found a call that was abandoned or
    read the end of a stream.
    """
    before, told.span = told.span, span
    try:
        record(fact)
    finally:
        told.span = before


_CONTEXT = "opentelemetry.context"  # which opentelemetry.trace imports
_SAMPLED = 0x01  # of the W3C's Trace Context; OpenTelemetry's own property takes twice as long
_NOT_TOLD: Any = object()


class _Told(local):
    """The span of what this thread records just now. Nothing else of the thread's comes between: a
    context variable, which takes three times as long, would be for that."""

    span: SpanContext | None = _NOT_TOLD


told: Final = _Told()
