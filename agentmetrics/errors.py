"""Every exception that a user of agentmetrics can meet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class ConfigurationError(ValueError):
    """Settings that cannot be used: of each the variable, the value, and what is allowed.

    ``args`` are one sentence for each mistake.
    """

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))


class LedgerUnavailable(RuntimeError):  # noqa: N818 - what it is, as a user reads it
    """The ledger's database cannot be used now; what has to be written waits for it."""


class UnknownMetricError(KeyError, ValueError):
    """A metric, a label or a label's value that does not exist, as a reading names it.

    A ``KeyError`` because it is a look-up that found nothing, a ``ValueError`` because it is an
    argument that can never be right.
    """

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError's own shows the repr


class BudgetExceeded(RuntimeError):  # noqa: N818 - named in the metrics as budget_exceeded
    """A call that was not made: its budget is spent, or it could overspend it.

    ``spent_usd`` and ``limit_usd`` are of the budget's current period, which ends at
    ``resets_at`` (``None`` for the limit of one agent run).

    ``args`` are plain data that make the same error again, so that it survives a pickle and the
    JSON of a task queue's result backend.
    """

    def __init__(
        self,
        budget: str,
        period: str,
        scope: Mapping[str, str],
        spent_usd: float,
        limit_usd: float,
        resets_at: datetime | str | None,
        reason: str = "is spent",
    ) -> None:
        self.budget, self.period, self.scope = budget, period, dict(scope)
        self.spent_usd, self.limit_usd, self.reason = spent_usd, limit_usd, reason
        self.resets_at = _moment(resets_at)
        ends = None if self.resets_at is None else self.resets_at.isoformat()
        super().__init__(budget, period, self.scope, spent_usd, limit_usd, ends, reason)

    def __str__(self) -> str:
        of = ", ".join(f"{name}={value}" for name, value in self.scope.items()) or "all calls"
        until = f"; it resets at {self.resets_at:%Y-%m-%d %H:%M %Z}" if self.resets_at else ""
        return (
            f"the {self.period} budget {self.budget!r} for {of} {self.reason}: "
            f"{self.spent_usd:.6f} of {self.limit_usd:.6f} USD{until}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        # A pickle keeps the time zone's name, which ISO 8601 has no place for.
        return type(self), (*self.args[:5], self.resets_at, self.reason)


def _moment(moment: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment
