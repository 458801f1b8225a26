"""The error of a call that a budget does not let through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class BudgetExceeded(RuntimeError):  # noqa: N818 - named in the metrics as budget_exceeded
    """A call that was not made: its budget is spent, or it could overspend it.

    ``spent_usd`` and ``limit_usd`` are of the budget's present period, which ends at
    ``resets_at`` (``None`` for the limit of one agent run).
    """

    def __init__(
        self,
        budget: str,
        period: str,
        scope: Mapping[str, str],
        spent_usd: float,
        limit_usd: float,
        resets_at: datetime | None,
        reason: str = "is spent",
    ) -> None:
        self.budget, self.period, self.scope = budget, period, dict(scope)
        self.spent_usd, self.limit_usd, self.resets_at = spent_usd, limit_usd, resets_at
        self.reason = reason
        of = ", ".join(f"{name}={value}" for name, value in scope.items()) or "all calls"
        until = f"; it resets at {resets_at:%Y-%m-%d %H:%M %Z}" if resets_at else ""
        super().__init__(
            f"the {period} budget {budget!r} of {of} {reason}: "
            f"{spent_usd:.6f} of {limit_usd:.6f} USD{until}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        where = (self.budget, self.period, self.scope)
        how_much = (self.spent_usd, self.limit_usd, self.resets_at, self.reason)
        return type(self), where + how_much
