"""Model selection as reported by the program: which model, how long it took, what it saved."""

from __future__ import annotations

import math
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

from agentmetrics.config.active import pipeline_for
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.blocks import Block

if TYPE_CHECKING:
    from typing_extensions import Self


def record_model_selection(
    model: str, *, intent: str = "", tier: str = "", recorder: Recorder | None = None
) -> None:
    """Count a model selection in ``model_selections_total{intent,model,tier}``.

    ``intent`` is what the model was chosen for, ``tier`` a class of models (``small``, ``large``).
    ``recorder`` defaults to the configured one.
    """
    pipeline = pipeline_for(recorder)
    try:
        pipeline.routing.selected(intent, model, tier)
    except Exception as error:
        pipeline.failed("record_model_selection", error)


def record_cost_savings(usd: float, *, intent: str, recorder: Recorder | None = None) -> None:
    """Add avoided cost, in USD, to ``model_cost_savings_usd_total{intent}``.

    An invalid amount (negative, infinite, NaN, not a number) is not added; it increments
    ``agentmetrics_handler_errors_total{event="record_cost_savings"}`` and never raises an error.
    The intent ``prompt_cache`` is reserved for savings from providers' prompt caches.
    """
    pipeline = pipeline_for(recorder)
    try:
        amount = float(usd)
        if not 0 <= amount < math.inf:
            raise ValueError("no saving")
        pipeline.routing.saved(intent, amount)
    except Exception as error:
        pipeline.failed("record_cost_savings", error)


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
        record_model_selection(
            model, intent=self._intent, tier=tier, recorder=self._pipeline.recorder
        )

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
