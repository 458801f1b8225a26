"""Budgets as metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
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
    @property
    def projected_usd(self) -> float | None: ...
    @property
    def resets_at(self) -> datetime: ...
    @property
    def unpriced_calls(self) -> int: ...


class BudgetMeter:
    """The instruments of budgets; how they stand is asked at every collection."""

    def __init__(self, make: Instruments, status: Callable[[], Sequence[Standing]]) -> None:
        self._blocked = make.counter(catalog.BUDGET_BLOCKED_CALLS)
        self._errors = make.counter(catalog.HANDLER_ERRORS)

        def gauge(
            amount: Callable[[Standing], float | None],
        ) -> Callable[[], dict[tuple[str, ...], float]]:
            def read() -> dict[tuple[str, ...], float]:
                amounts = (((s.budget, s.period), amount(s)) for s in status())
                return {labels: value for labels, value in amounts if value is not None}

            return read

        make.observe(catalog.BUDGET_LIMIT, gauge(lambda s: s.limit_usd))
        make.observe(catalog.BUDGET_SPEND, gauge(lambda s: s.spent_usd))
        make.observe(catalog.BUDGET_REMAINING, gauge(lambda s: s.remaining_usd))
        make.observe(catalog.BUDGET_PERIOD_END, gauge(lambda s: s.resets_at.timestamp()))
        make.observe(catalog.BUDGET_UNPRICED_CALLS, gauge(lambda s: s.unpriced_calls))
        make.observe(catalog.BUDGET_PROJECTED_SPEND, gauge(lambda s: s.projected_usd))

    def expect(self, budget: str, period: str) -> None:
        """Show 0 refused calls until there is one."""
        self._blocked.labels(budget, period)

    def blocked(self, budget: str, period: str) -> None:
        """Count a call that was refused."""
        self._blocked.labels(budget, period).inc()

    def notice_lost(self) -> None:
        """Count a notice that did not reach its destination."""
        self._errors.labels("notify").inc()

    def unanswered(self) -> None:
        """Count a question before a call that the ledger did not answer in time."""
        self._errors.labels("admit").inc()
