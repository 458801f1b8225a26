"""What a budget in force has spent and reserved, period by period.

Money is in whole nano-dollars (10⁻⁹ USD) wherever it is added up.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Protocol

from agentmetrics.budget.budgets.budget import Budget, BudgetStatus, standings
from agentmetrics.budget.ledger.demand import Demand
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.budget.periods import Span, period_at
from agentmetrics.errors import BudgetExceeded
from agentmetrics.recording.fork import ForkSafeLock

_PERIODS_KEPT = 3  # a clock that is set back finds its period again

lock = ForkSafeLock()
"""One for all: a call may be of several budgets, and several recorders may share one."""


class Spent(Protocol):
    """What a scope has spent in one period; grows by itself."""

    @property
    def nano_usd(self) -> int: ...
    @property
    def unpriced_calls(self) -> int: ...
    @property
    def read_at(self) -> float | None: ...


Follow = Callable[[Budget, Span], "Spent | None"]
"""Begins to follow what a budget spends in a period; ``None`` where nobody else knows it."""


@dataclass
class _InPeriod:
    """A period of a budget: what is spent, and which thresholds that has passed."""

    span: Span
    followed: Spent | None
    aside_nano: int = 0
    aside_unpriced_calls: int = 0
    passed: set[float] = field(default_factory=set)
    told_unpriced: bool = False

    @property
    def spent_nano(self) -> int:
        return self.aside_nano + (0 if self.followed is None else self.followed.nano_usd)

    @property
    def unpriced_calls(self) -> int:
        followed = 0 if self.followed is None else self.followed.unpriced_calls
        return self.aside_unpriced_calls + followed


class BudgetState:
    """What runs of one budget: its periods, and what is reserved for calls that are open."""

    def __init__(self, budget: Budget, follow: Follow, zone: tzinfo) -> None:
        self.budget = budget
        self._reserved_nano = 0
        self._generation = 0
        self._follow, self._zone = follow, zone
        self._periods: dict[int, _InPeriod] = {}

    def begin(self, follow: Follow, zone: tzinfo) -> None:
        """Begin anew, with days that begin at midnight in ``zone``.

        What is reserved stays so until the calls that it is for have ended.
        """
        with lock:
            self._follow, self._zone = follow, zone
            self._periods.clear()

    @property
    def reserved_nano(self) -> int:
        """What is reserved for calls that are open."""
        if _dropped:
            _give_back_dropped()
        return self._reserved_nano

    def reserve_anew(self) -> None:
        """Forget what is reserved: in a child of a fork it is for calls of the parent's."""
        self._reserved_nano, self._generation = 0, self._generation + 1

    def _at(self, now: float) -> _InPeriod:
        with lock:
            for known in self._periods.values():
                if known.span.start <= now < known.span.end:
                    return known
            span = period_at(self.budget.period, int(now), self._zone)
            while len(self._periods) >= _PERIODS_KEPT:
                del self._periods[min(self._periods)]
            found = self._periods[span.start] = _InPeriod(span, self._follow(self.budget, span))
            return found

    def demand(self, now: float) -> Demand:
        """What a call at ``now`` demands of this budget where processes share it."""
        budget = self.budget
        return Demand(budget.calls(), budget.period, self._at(now).span, budget.limit_nano)

    def spent_nano(self, now: float) -> int:
        """What is spent in the period that ``now`` (Unix seconds) lies in."""
        return self._at(now).spent_nano

    def spend(self, nano_usd: int, now: float) -> None:
        """Add what a call cost, where what is followed does not show it."""
        with lock:
            self._at(now).aside_nano += nano_usd

    def miss(self, now: float) -> None:
        """Count a call that has no price, where what is followed does not show it."""
        with lock:
            self._at(now).aside_unpriced_calls += 1

    def newly_passed(self, now: float) -> list[float]:
        """The thresholds that are reached now and were not before in this period."""
        with lock:
            at = self._at(now)
            spent, limit = at.spent_nano, self.budget.limit_nano
            reached = {t for t in self.budget.thresholds if spent and 100 * spent >= t * limit}
            new = sorted(reached - at.passed)
            at.passed |= reached
            return new

    def newly_unpriced(self, now: float) -> int:
        """How many calls have no price, where some do now and none did before in this period."""
        with lock:
            at = self._at(now)
            if at.told_unpriced or not at.unpriced_calls:
                return 0
            at.told_unpriced = True
            return at.unpriced_calls

    def status(self, now: float) -> BudgetStatus:
        """How it stands at ``now`` (Unix seconds)."""
        at, budget = self._at(now), self.budget
        read_at = None if at.followed is None else at.followed.read_at
        return BudgetStatus(
            budget.name,
            budget.period,
            budget.scope,
            budget.limit_usd,
            at.spent_nano / NANO,
            self.reserved_nano / NANO,
            datetime.fromtimestamp(at.span.end, self._zone),
            datetime.fromtimestamp(at.span.start, self._zone),
            datetime.fromtimestamp(now, self._zone),
            at.unpriced_calls,
            None if read_at is None else datetime.fromtimestamp(read_at, self._zone),
        )

    def exceeded(self, now: float, reason: str, spent_nano: int | None = None) -> BudgetExceeded:
        """The error of a call that this budget does not let through.

        ``spent_nano`` is what is spent, where that is known better than here.
        """
        status = self.status(now)
        if spent_nano is not None:
            status = replace(status, spent_usd=spent_nano / NANO)
        return BudgetExceeded(
            status.budget,
            status.period,
            status.scope,
            status.spent_usd,
            status.limit_usd,
            status.resets_at,
            reason,
        )


class Reserved:
    """What is reserved for one call, until it is given back or nobody holds this any longer.

    A signal handler may raise between any two steps of a call, which is then in no table, or out of
    it and not settled. To be used under the lock.
    """

    __slots__ = ("__weakref__", "_note")

    def __init__(self, nano_usd: int) -> None:
        self._note: _Note | None = _Note.of(self, nano_usd)

    def take_from(self, states: Iterable[BudgetState]) -> None:
        """Reserve it from each of these."""
        if self._note is not None:
            self._note.take_from(states)

    def give_back(self) -> None:
        """Reserve it no more."""
        if self._note is not None:
            self._note.give_back()
        self._note = None  # whose callback is then never called


class _Note(weakref.ref):  # type: ignore[type-arg]
    """What was taken, noted apart from who holds it."""

    __slots__ = ("_nano_usd", "_of")

    _nano_usd: int
    _of: tuple[tuple[BudgetState, int], ...]

    @classmethod
    def of(cls, reserved: Reserved, nano_usd: int) -> _Note:
        """Of so much, of no budget yet."""
        # A function in C: an order to stop that came in one of ours would be lost.
        made = cls(reserved, _dropped.append)
        made._nano_usd, made._of = nano_usd, ()
        return made

    def take_from(self, states: Iterable[BudgetState]) -> None:
        _noted[id(self)] = self
        for state in states:  # no signal handler runs between two instructions that call nothing
            self._of = ((state, state._generation), *self._of)
            state._reserved_nano += self._nano_usd

    def give_back(self) -> None:
        while self._of:
            (state, generation), self._of = self._of[0], self._of[1:]
            if generation == state._generation:
                state._reserved_nano -= self._nano_usd
        _noted.pop(id(self), None)


_noted: dict[int, _Note] = {}
"""By their ids: a reference to what is gone has no hash."""
_dropped: deque[_Note] = deque()
"""Of what nobody gave back; whoever looks next does."""


def _give_back_dropped() -> None:
    with lock:
        while _dropped:
            with suppress(IndexError, ValueError):  # or who came here in the middle of this did it
                note = _dropped[0]
                note.give_back()  # before it is out: this may be told to stop as well
                _dropped.remove(note)


def state_of(budget: Budget, follow: Follow, zone: tzinfo) -> BudgetState:
    """The state of a budget that comes into force: its own, where it is in force already."""
    with lock:
        found = standings.get(budget)
        state = found() if found else None
        if isinstance(state, BudgetState):
            state.begin(follow, zone)
        else:
            state = BudgetState(budget, follow, zone)
            standings[budget] = weakref.ref(state)
        return state
