"""Every exception that a user of agentmetrics can encounter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class ConfigurationError(ValueError):
    """Invalid settings: for each, the variable, the value, and what is allowed.

    ``args`` holds one sentence per mistake.
    """

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))


class LedgerUnavailable(RuntimeError):  # noqa: N818 - what it is, as a user reads it
    """The ledger's database is unreachable; pending writes wait until it is back."""


class PushFailed(RuntimeError):  # noqa: N818 - what became of the push
    """A Pushgateway did not take what was pushed: where, why, and as which job."""


class UnknownMetricError(KeyError, ValueError):
    """A reading names a metric, a label or a label value that does not exist.

    A ``KeyError`` because it is a failed lookup, a ``ValueError`` because the argument can never be
    right.
    """

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError's own shows the repr


class BudgetExceeded(RuntimeError):  # noqa: N818 - named in the metrics as budget_exceeded
    """A call was refused: its budget is spent, or the call could overspend it.

    ``spent_usd`` and ``limit_usd`` refer to the budget's current period, which ends at
    ``resets_at`` (``None`` for the limit of one agent run).

    ``args`` are plain data from which the same error can be rebuilt, so it survives pickling and
    the JSON of a task queue's result backend.
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
