"""How unusual the spend of agents is, as a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentmetrics import catalog
from agentmetrics.meters.base import Instruments


class AnomalyMeter:
    """The gauge of what an agent spends beside what it usually does."""

    def __init__(self, make: Instruments) -> None:
        self._make = make

    def show(self, ratios: Callable[[], Mapping[str, float]]) -> None:
        """Ask ``ratios``, by agent, at every collection from now on."""
        self._make.observe(
            catalog.LLM_COST_ANOMALY, lambda: {(agent,): r for agent, r in ratios().items()}
        )
