"""A budget: a limit on what certain calls may cost per day, week or month."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, Protocol

from agentmetrics.budget.ledger.spend import CallFilter
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.budget.notify.destination import Destination, parse_all
from agentmetrics.budget.periods import PACE_SHARE, PERIODS, Period, period_at

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "period": PERIODS,
    "action": ("warn", "block"),
    "reserve": ("", "max_tokens"),
    "reserve_in": ("process", "ledger"),
}
_MAX_LIMIT_USD = 1e15  # above it, nano-dollars are nothing that floats or databases hold

OnThreshold = Callable[["BudgetStatus", float], "Awaitable[None] | None"]


@dataclass(frozen=True)
class BudgetStatus:
    """The status of a budget in its current period; amounts in USD."""

    budget: str
    period: Period
    scope: Mapping[str, str]
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    resets_at: datetime
    starts_at: datetime
    as_of: datetime
    unpriced_calls: int = 0
    """Calls that used tokens and are not in ``spent_usd``, since nobody knows their price."""
    ledger_read_at: datetime | None = None
    """When the ledger last said what all processes have spent: what others spent since is not in
    ``spent_usd``. ``None`` without a ledger, and until it has answered."""

    @property
    def projected_usd(self) -> float | None:
        """What the period will have cost at its end at the pace so far.

        ``None`` until a 24th of it has passed: of a day an hour.
        """
        length = self.resets_at.timestamp() - self.starts_at.timestamp()
        passed = self.as_of.timestamp() - self.starts_at.timestamp()
        return None if passed * PACE_SHARE < length else self.spent_usd * length / passed

    @property
    def remaining_usd(self) -> float:
        """What may still be spent; negative when overspent."""
        return self.limit_usd - self.spent_usd

    @property
    def percent(self) -> float:
        """Spend as a percentage of the limit."""
        if self.limit_usd:
            return 100 * self.spent_usd / self.limit_usd
        return math.inf if self.spent_usd else 0.0

    def is_over(self, threshold_percent: float = 100.0) -> bool:
        """Whether this percentage of the limit is spent."""
        return self.percent >= threshold_percent

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with times in ISO 8601."""
        amounts = {"remaining_usd": self.remaining_usd, "projected_usd": self.projected_usd}
        moments = {n: getattr(self, n).isoformat() for n in ("resets_at", "starts_at", "as_of")}
        read_at = self.ledger_read_at and self.ledger_read_at.isoformat()
        return asdict(self) | amounts | moments | {"ledger_read_at": read_at}


class Standing(Protocol):
    """What runs of a budget in force; see ``agentmetrics.budget.budgets.state``."""

    def status(self, now: float) -> BudgetStatus: ...


standings: weakref.WeakKeyDictionary[Budget, weakref.ref[Standing]] = weakref.WeakKeyDictionary()
"""Of every budget in force what runs of it, for as long as somebody holds that."""


@dataclass(frozen=True, eq=False)
class Budget:
    """A limit in USD on the calls in a scope, per period.

    ``scope`` may contain ``agent_name``, ``provider``, ``model`` and any extra label; a call counts
    if it has all of these values. ``action`` is what happens when the budget is spent: a warning,
    or calls that raise ``BudgetExceeded`` before a request is sent. At each of the ``thresholds``
    (percent of the limit), once per period, a message is logged and ``on_threshold(status,
    threshold)`` is called, sync or async, in its own thread. Each destination in ``notify`` is told
    as well: ``slack:VARIABLE`` or ``webhook:VARIABLE``, where VARIABLE is an environment variable
    that holds the URL.

    With ``reserve="max_tokens"``, a call is admitted only if the budget can cover the most it could
    cost, so that nothing is overspent by this process; a call whose maximum cost is unknown is
    refused. With ``reserve_in="ledger"``, that amount is reserved in the ledger's database, so that
    nothing is overspent by all processes together: one transaction before each call.

    Raises ``ValueError`` on invalid arguments.
    """

    name: str
    limit_usd: float
    period: Period = "daily"
    scope: Mapping[str, str] = field(default_factory=dict)
    thresholds: tuple[float, ...] = (80.0, 100.0)
    action: Literal["warn", "block"] = "warn"
    reserve: Literal["", "max_tokens"] = ""
    reserve_in: Literal["process", "ledger"] = "process"
    on_threshold: OnThreshold | None = field(default=None, repr=False)
    notify: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._check()
        object.__setattr__(self, "scope", dict(self.scope))
        object.__setattr__(self, "thresholds", tuple(sorted(self.thresholds)))
        object.__setattr__(self, "notify", tuple(map(str, self.destinations())))

    def _check(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name={self.name!r}: a budget must have a name")
        if not _is_number(self.limit_usd) or self.limit_usd < 0:
            raise ValueError(f"limit_usd={self.limit_usd!r}: must be a number of at least 0")
        if self.limit_usd > _MAX_LIMIT_USD:
            raise ValueError(f"limit_usd: must be at most {_MAX_LIMIT_USD:g}")
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name}={value!r}: use one of {', '.join(map(repr, allowed))}")
        if self.reserve and self.action != "block":
            raise ValueError(f"reserve={self.reserve!r}: requires action='block'")
        if self.reserve_in == "ledger" and not self.reserve:
            raise ValueError("reserve_in='ledger': requires reserve='max_tokens'")
        if not isinstance(self.thresholds, Collection) or not all(
            _is_number(percent) and percent > 0 for percent in self.thresholds
        ):
            raise ValueError(f"thresholds={self.thresholds!r}: must be percentages above 0")
        if not isinstance(self.scope, Mapping):
            raise ValueError(f"scope={self.scope!r}: must be a mapping of labels to values")
        for label, value in self.scope.items():
            if not isinstance(value, str) or not value:
                raise ValueError(f"scope {label}={value!r}: must be a string")

    @property
    def is_shared(self) -> bool:
        """Whether calls reserve from it in the ledger, for all processes."""
        return self.reserve_in == "ledger"

    @property
    def limit_nano(self) -> int:
        """The limit in 10⁻⁹ USD."""
        return round(self.limit_usd * NANO)

    def destinations(self) -> tuple[Destination, ...]:
        """Who is told of its thresholds, besides the log and ``on_threshold``."""
        return parse_all(self.notify)

    def calls(self) -> CallFilter:
        """The calls in its scope, as a filter for the ledger."""
        return CallFilter.of(self.scope)

    def status(self, now: float | None = None) -> BudgetStatus:
        """Its status at ``now`` (Unix seconds; by default the current time).

        While it is not in force (it comes into force by ``configure()``) it has counted nothing:
        nothing is spent, and its days begin at midnight UTC.
        """
        moment = time.time() if now is None else now
        found = standings.get(self)
        standing = found() if found else None
        return self._unused(moment) if standing is None else standing.status(moment)

    def _unused(self, now: float) -> BudgetStatus:
        utc = timezone.utc
        span = period_at(self.period, int(now), utc)
        ends, starts, at = (datetime.fromtimestamp(m, utc) for m in (span.end, span.start, now))
        return BudgetStatus(
            self.name, self.period, self.scope, self.limit_usd, 0.0, 0.0, ends, starts, at
        )


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -math.inf < value < math.inf  # math.isfinite(10**400) raises
