"""The choice of a model, as the program tells it: which, how long it took, what it saved."""

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
    """Count a choice of a model in ``model_selections_total{intent,model,tier}``.

    ``intent`` is what the model was chosen for, ``tier`` a class of models (``small``,
    ``large``). ``recorder`` is by default the configured one.
    """
    pipeline = pipeline_for(recorder)
    try:
        pipeline.routing.selected(intent, model, tier)
    except Exception as error:
        pipeline.failed("record_model_selection", error)


def record_cost_savings(usd: float, *, intent: str, recorder: Recorder | None = None) -> None:
    """Add cost that a choice avoided, in USD, to ``model_cost_savings_usd_total{intent}``.

    What cannot be a saving (negative, infinite, NaN, no number) is not added and raises
    ``agentmetrics_handler_errors_total{event="record_cost_savings"}``, never an error. The intent
    ``prompt_cache`` is taken by what providers' prompt caches saved.
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
    """Time a choice of a model; use it with ``with`` or ``async with``.

    The block's duration in seconds goes into ``model_routing_duration_seconds{intent}``, also
    when it is left by an exception, which goes on. ``recorder`` is by default the configured one.
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
