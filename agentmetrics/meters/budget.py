"""Budgets as metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agentmetrics import catalog
from agentmetrics.meters.base import Instruments


class Standing(Protocol):
    """How one budget stands, in USD."""

    @property
    def budget(self) -> str: ...
    @property
    def period(self) -> str: ...
    @property
    def limit_usd(self) -> float: ...
    @property
    def spent_usd(self) -> float: ...
    @property
    def remaining_usd(self) -> float: ...


class BudgetMeter:
    """The instruments of budgets; how they stand is asked at every collection."""

    def __init__(self, make: Instruments, status: Callable[[], Sequence[Standing]]) -> None:
        self._blocked = make.counter(catalog.BUDGET_BLOCKED_CALLS)

        def gauge(
            amount: Callable[[Standing], float],
        ) -> Callable[[], dict[tuple[str, ...], float]]:
            return lambda: {(s.budget, s.period): amount(s) for s in status()}

        make.observe(catalog.BUDGET_LIMIT, gauge(lambda s: s.limit_usd))
        make.observe(catalog.BUDGET_SPEND, gauge(lambda s: s.spent_usd))
        make.observe(catalog.BUDGET_REMAINING, gauge(lambda s: s.remaining_usd))

    def blocked(self, budget: str, period: str) -> None:
        """Count a call that was refused."""
        self._blocked.labels(budget, period).inc()
