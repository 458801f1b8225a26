"""A budget: a limit on what some calls may cost in a day, week or month, and what they cost so far.

Money is in whole nano-dollars (10⁻⁹ USD) wherever it is added up.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone, tzinfo
from typing import Any, ClassVar, Literal, Protocol

from agentmetrics.budget.ledger.spend import Scope
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.budget.periods import PERIODS, Period, Span, period_at
from agentmetrics.errors import BudgetExceeded

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "period": PERIODS,
    "action": ("warn", "block"),
    "reserve": ("", "max_tokens"),
}
CALL_LABELS = ("agent_name", "provider", "model")
_PERIODS_KEPT = 3  # a clock that is set back finds its period again
_MAX_LIMIT_USD = 1e15  # above it, nano-dollars are nothing that floats or databases hold

OnThreshold = Callable[["BudgetStatus", float], "Awaitable[None] | None"]


@dataclass(frozen=True)
class BudgetStatus:
    """How a budget stands in its present period; amounts in USD."""

    budget: str
    period: Period
    scope: Mapping[str, str]
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    resets_at: datetime

    @property
    def remaining_usd(self) -> float:
        """What may still be spent; below 0 once it is overspent."""
        return self.limit_usd - self.spent_usd

    @property
    def percent(self) -> float:
        """Spent, of the limit."""
        if self.limit_usd:
            return 100 * self.spent_usd / self.limit_usd
        return math.inf if self.spent_usd else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data, the moment as ISO 8601."""
        amounts = {"remaining_usd": self.remaining_usd, "resets_at": self.resets_at.isoformat()}
        return asdict(self) | amounts


class Spent(Protocol):
    """What a scope has spent in one period; grows by itself."""

    @property
    def nano_usd(self) -> int: ...


Follow = Callable[["Budget", Span], "Spent | None"]
"""Begins to follow what a budget spends in a period; ``None`` where nobody else knows it."""


@dataclass
class _InPeriod:
    """A period of a budget: what is spent, and which thresholds that has passed."""

    span: Span
    followed: Spent | None
    aside_nano: int = 0
    passed: set[float] = field(default_factory=set)

    @property
    def spent_nano(self) -> int:
        return self.aside_nano + (0 if self.followed is None else self.followed.nano_usd)


@dataclass(eq=False)
class Budget:
    """A limit in USD on the calls of a scope in each period.

    ``scope`` may name ``agent_name``, ``provider``, ``model`` and any extra label; a call that
    has all of these values counts. ``action`` says what comes of a spent budget: a warning, or
    calls that raise ``BudgetExceeded`` before a request leaves. At each of the ``thresholds``
    (per cent of the limit), once a period, it is logged and ``on_threshold(status, threshold)``
    is called, sync or async, in a thread of its own.

    With ``reserve="max_tokens"`` a call is let through only when the most it can cost is left,
    so that nothing is overspent; a call with no such bound is refused.

    Raises ``ValueError`` on what cannot be a budget.
    """

    name: str
    limit_usd: float
    period: Period = "daily"
    scope: Mapping[str, str] = field(default_factory=dict)
    thresholds: tuple[float, ...] = (80.0, 100.0)
    action: Literal["warn", "block"] = "warn"
    reserve: Literal["", "max_tokens"] = ""
    on_threshold: OnThreshold | None = field(default=None, repr=False)
    lock: ClassVar[threading.RLock] = threading.RLock()
    """One for all: a call may be of several, and several recorders may share one."""

    def __post_init__(self) -> None:
        self._check()
        self.scope = dict(self.scope)
        self.thresholds = tuple(sorted(self.thresholds))
        self.limit_nano = round(self.limit_usd * NANO)
        self.reserved_nano = 0
        self._zone: tzinfo = timezone.utc
        self._follow: Follow | None = None
        self._periods: dict[int, _InPeriod] = {}

    def _check(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name={self.name!r}: a budget has a name")
        if not _is_number(self.limit_usd) or self.limit_usd < 0:
            raise ValueError(f"limit_usd={self.limit_usd!r}: a limit is a number of at least 0")
        if self.limit_usd > _MAX_LIMIT_USD:
            raise ValueError(f"limit_usd: a limit is at most {_MAX_LIMIT_USD:g}")
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name}={value!r}: use one of {', '.join(map(repr, allowed))}")
        if self.reserve and self.action != "block":
            raise ValueError(f"reserve={self.reserve!r}: only with action='block'")
        if not isinstance(self.thresholds, Collection) or not all(
            _is_number(percent) and percent > 0 for percent in self.thresholds
        ):
            raise ValueError(f"thresholds={self.thresholds!r}: these are per cent, above 0")
        if not isinstance(self.scope, Mapping):
            raise ValueError(f"scope={self.scope!r}: use a mapping of labels to values")
        for label, value in self.scope.items():
            if not isinstance(value, str) or not value:
                raise ValueError(f"scope {label}={value!r}: use a text")

    def ledger_scope(self) -> Scope:
        """Its scope, as the ledger has them."""
        named = {label: self.scope.get(label) for label in CALL_LABELS}
        more = {label: value for label, value in self.scope.items() if label not in CALL_LABELS}
        return Scope(**named, dimensions=more)

    def begin(self, follow: Follow, zone: tzinfo) -> None:
        """Come into force, with days that begin at midnight in ``zone``.

        What is reserved stays so until the calls that it is for have ended.
        """
        with Budget.lock:
            self._follow, self._zone = follow, zone
            self._periods.clear()

    def _at(self, now: float) -> _InPeriod:
        with Budget.lock:
            for known in self._periods.values():
                if known.span.start <= now < known.span.end:
                    return known
            if self._follow is None:
                raise RuntimeError(f"budget {self.name!r} is not in force: give it to configure()")
            span = period_at(self.period, int(now), self._zone)
            while len(self._periods) >= _PERIODS_KEPT:
                del self._periods[min(self._periods)]
            found = self._periods[span.start] = _InPeriod(span, self._follow(self, span))
            return found

    def spent_nano(self, now: float) -> int:
        """What is spent in the period that ``now`` (Unix seconds) lies in."""
        return self._at(now).spent_nano

    def spend(self, nano_usd: int, now: float) -> None:
        """Add what a call cost, where what is followed does not show it."""
        with Budget.lock:
            self._at(now).aside_nano += nano_usd

    def newly_passed(self, now: float) -> list[float]:
        """The thresholds that are reached now and were not before in this period."""
        with Budget.lock:
            at = self._at(now)
            spent = at.spent_nano
            reached = {t for t in self.thresholds if spent and 100 * spent >= t * self.limit_nano}
            new = sorted(reached - at.passed)
            at.passed |= reached
            return new

    def status(self, now: float | None = None) -> BudgetStatus:
        """How it stands at ``now`` (Unix seconds; the present when left out)."""
        at = self._at(time.time() if now is None else now)
        return BudgetStatus(
            self.name,
            self.period,
            self.scope,
            self.limit_usd,
            at.spent_nano / NANO,
            self.reserved_nano / NANO,
            datetime.fromtimestamp(at.span.end, self._zone),
        )

    def exceeded(self, now: float, reason: str = "is spent") -> BudgetExceeded:
        """The error of a call that this budget does not let through."""
        status = self.status(now)
        return BudgetExceeded(
            self.name,
            self.period,
            self.scope,
            status.spent_usd,
            self.limit_usd,
            status.resets_at,
            reason,
        )


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -math.inf < value < math.inf  # math.isfinite(10**400) raises


def _after_fork_in_child() -> None:
    Budget.lock = threading.RLock()  # which a thread of the parent may have held


os.register_at_fork(after_in_child=_after_fork_in_child)
