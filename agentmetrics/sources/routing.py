"""Model selection as reported by the program: which model, how long it took, what it saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

from agentmetrics.config.active import pipeline_for
from agentmetrics.meters.routing import RoutingMeter
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.amounts import dollars
from agentmetrics.sources.amounts import seconds as a_duration
from agentmetrics.sources.blocks import Block

if TYPE_CHECKING:
    from typing_extensions import Self


def record_model_selection(
    intent: str, model: str, tier: str = "", *, recorder: Recorder | None = None
) -> None:
    """Count a model selection in ``model_selections_total{intent,model,tier}``.

    ``intent`` is what the model was chosen for, ``tier`` a class of models (``small``, ``large``).
    ``recorder`` defaults to the configured one.
    """
    with _recording("record_model_selection", recorder) as routed:
        routed.selected(intent, model, tier)


def record_model_fallback(intent: str, reason: str, *, recorder: Recorder | None = None) -> None:
    """Count a call that was handed to another model in ``model_fallbacks_total{intent,reason}``.

    ``reason`` is the ``error_type`` of the first model's failure, or a word of your own. Not
    needed for ``with_fallbacks`` of LangChain, whose fallbacks are recorded. ``recorder`` defaults
    to the configured one.
    """
    with _recording("record_model_fallback", recorder) as routed:
        routed.fell_back(intent, reason)


def record_routing_duration(
    intent: str, seconds: float, *, recorder: Recorder | None = None
) -> None:
    """Add a selection that took so many seconds to ``model_routing_duration_seconds{intent}``.

    An invalid duration (negative, infinite, NaN, not a number) is not recorded; it increments
    ``agentmetrics_handler_errors_total{event="record_routing_duration"}`` and never raises an
    error. ``recorder`` defaults to the configured one.
    """
    with _recording("record_routing_duration", recorder) as routed:
        routed.routed(intent, a_duration(seconds))


def record_cost_savings(intent: str, usd: float, *, recorder: Recorder | None = None) -> None:
    """Add avoided cost, in USD, to ``model_cost_savings_usd_total{intent}``.

    An invalid amount (negative, infinite, NaN, not a number) is not added; it increments
    ``agentmetrics_handler_errors_total{event="record_cost_savings"}`` and never raises an error.
    The intent ``prompt_cache`` is reserved for savings from providers' prompt caches.
    """
    with _recording("record_cost_savings", recorder) as routed:
        routed.saved(intent, dollars(usd))


@contextmanager
def _recording(event: str, recorder: Recorder | None) -> Iterator[RoutingMeter]:
    """The meter of selections; what fails in the block is counted as this event."""
    pipeline = pipeline_for(recorder)
    try:
        yield pipeline.routing
    except Exception as error:
        pipeline.failed(event, error)


class routing(Block):  # noqa: N801 - used like contextlib's functions
    """Time a model selection; use it with ``with`` or ``async with``.

    The duration of the block, in seconds, is recorded in
    ``model_routing_duration_seconds{intent}``, even if it is left by an exception, which
    propagates. ``recorder`` defaults to the configured one.
    """

    def __init__(self, intent: str = "", *, recorder: Recorder | None = None) -> None:
        self._pipeline = pipeline_for(recorder)
        self._intent = intent
        self._started = 0.0

    def select(self, model: str, tier: str = "") -> None:
        """Say which model was chosen; each time counts as a selection."""
        record_model_selection(self._intent, model, tier, recorder=self._pipeline.recorder)

    def __enter__(self) -> Self:
        self._started = perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._started
        try:
            self._pipeline.routing.routed(self._intent, seconds)
        except Exception as problem:
            self._pipeline.failed("routing", problem)
