"""What agents spend by the ledger, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentmetrics import catalog
from agentmetrics.meters.base import Instruments
from agentmetrics.recording.instruments import Observed

ByAgent = Callable[[], Mapping[str, float]]


class SpendMeter:
    """The gauges of what an agent has spent today, and of what it spends beside what is usual."""

    def __init__(self, make: Instruments) -> None:
        self._make = make

    def show(self, ratios: ByAgent, today: ByAgent) -> None:
        """Ask these at every collection from now on; ``today`` is in USD."""
        self._make.observe(catalog.LLM_COST_ANOMALY, lambda: _series(ratios))
        self._make.observe(catalog.LLM_COST_TODAY, lambda: _series(today))


def _series(amounts: ByAgent) -> Observed:
    return {(agent,): amount for agent, amount in amounts().items()}
