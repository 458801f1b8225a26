"""The choice of models as metrics: selections, fallbacks, the time a choice took, savings."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.meters.base import Instruments


class RoutingMeter:
    """The instruments of routing; labels in the order of the arguments."""

    def __init__(self, make: Instruments) -> None:
        self.selections = make.counter(catalog.MODEL_SELECTIONS)
        self.fallbacks = make.counter(catalog.MODEL_FALLBACKS)
        self.duration = make.histogram(catalog.MODEL_ROUTING_DURATION)
        self.savings = make.counter(catalog.MODEL_COST_SAVINGS)

    def selected(self, intent: str, model: str, tier: str) -> None:
        self.selections.labels(intent, model, tier).inc()

    def fell_back(self, intent: str, reason: str) -> None:
        """A call was handed to another model; ``reason`` is the ``error_type`` of the first."""
        self.fallbacks.labels(intent, reason).inc()

    def routed(self, intent: str, seconds: float) -> None:
        self.duration.labels(intent).observe(seconds)

    def saved(self, intent: str, usd: float) -> None:
        """Cost that was avoided; ``ValueError`` when it is negative or NaN."""
        self.savings.labels(intent).inc(usd)
