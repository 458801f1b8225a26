"""The budgets in force at a recorder: what lets calls through, counts them, and gives warning."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING, Literal

from agentmetrics.budget.budget import CALL_LABELS, Budget, BudgetStatus, Spent
from agentmetrics.budget.notices import Notices
from agentmetrics.budget.periods import Span
from agentmetrics.budget.tally import NANO
from agentmetrics.calls import BoundOf, open_calls
from agentmetrics.facts import LLMCall
from agentmetrics.meters.budget import BudgetMeter
from agentmetrics.meters.llm import LLMMeter
from agentmetrics.recorder import Recorder

if TYPE_CHECKING:
    from agentmetrics.budget.ledger import Ledger

OnLedgerError = Literal["allow", "block"]
_MAX_KNOWN = 10_000


class Counted:
    """What a budget spends where there is no ledger: the calls of this process, from its start."""

    def __init__(self) -> None:
        self.nano_usd = 0


class Budgets:
    """Holds every LLM call of a recorder to some budgets.

    With a ledger the sums are those of all processes that write to it, as of the last flush, and
    this process' own to the last call; without one they begin at 0 with the process. While the
    ledger cannot be written, ``on_ledger_error="block"`` refuses the calls of blocking budgets.

    Raises ``ValueError`` when two budgets have one name, or a scope names a label that is none.
    """

    def __init__(
        self,
        budgets: Iterable[Budget],
        recorder: Recorder,
        *,
        ledger: Ledger | None = None,
        zone: tzinfo = timezone.utc,
        on_ledger_error: OnLedgerError = "allow",
    ) -> None:
        self._budgets = tuple(budgets)
        self._calls = open_calls(recorder)
        check_budgets(self._budgets, self._calls.extra_labels)
        self._prices = self._calls.recorder.attached(LLMMeter).prices
        self._ledger, self._strict = ledger, on_ledger_error == "block"
        self._lock = threading.Lock()
        self._notices = Notices()
        self._known: dict[tuple[str, ...], tuple[Budget, ...]] = {}
        for budget in self._budgets:
            budget.begin(self._follow, zone)
        self._meter = BudgetMeter(self._calls.recorder, self.status)
        self._calls.guard(self._admit)
        _all.add(self)

    def load(self) -> None:
        """Ask the ledger what was spent before; a ledger that is away is asked at its next write.

        Blocks for as long as the database takes.
        """
        if self._ledger is not None:
            from agentmetrics.budget.database import LedgerUnavailable

            self.status()  # begins to follow
            with suppress(LedgerUnavailable):
                self._ledger.flush()

    def _follow(self, budget: Budget, span: Span) -> Spent:
        if self._ledger is None:
            return Counted()
        since, until = (datetime.fromtimestamp(end, timezone.utc) for end in span)
        return self._ledger.follow(budget.ledger_scope(), since, until)

    def status(self) -> list[BudgetStatus]:
        """How every budget stands now."""
        now = time.time()
        with self._lock:
            self._warn(self._budgets, now)  # what other processes spent passes thresholds, too
            return [budget.status(now) for budget in self._budgets]

    def close(self) -> None:
        """Let every call through from now on."""
        self._calls.unguard(self._admit)
        self._budgets = ()
        self._notices.close()

    def _admit(self, call: LLMCall, bound: BoundOf) -> Callable[[LLMCall], None]:
        budgets = self._of(call)
        reserving = [budget for budget in budgets if budget.reserve]
        most = self._most(call, bound) if reserving else None
        now = time.time()
        with self._lock:
            for budget in budgets:
                if budget.action == "block":
                    self._let_through(budget, most, now)
            for budget in reserving:
                budget.reserved_nano += most or 0

        def settle(ended: LLMCall) -> None:
            with self._lock:
                for budget in reserving:
                    budget.reserved_nano -= most or 0
                if ended.cost_usd:
                    self._spent(budgets, round(ended.cost_usd * NANO))

        return settle

    def _let_through(self, budget: Budget, most: int | None, now: float) -> None:
        taken = budget.spent(now).nano_usd + budget.reserved_nano
        if self._strict and self._ledger is not None and self._ledger.failure is not None:
            reason = "cannot be checked, its ledger is away"
        elif taken >= budget.limit_nano:
            reason = "is spent"
        elif budget.reserve and most is None:
            reason = "takes only calls that say their max_tokens and whose price is known"
        elif budget.reserve and taken + (most or 0) > budget.limit_nano:
            reason = "has not left what the call may cost"
        else:
            return
        self._meter.blocked(budget.name, budget.period)
        raise budget.exceeded(now, reason)

    def _most(self, call: LLMCall, bound: BoundOf) -> int | None:
        """The most that a call can cost, in nano-dollars; ``None`` where nobody can know."""
        most = bound()
        cost = most and self._prices.most_usd(call.provider, call.model, *most)
        return None if cost is None else round(cost * NANO)

    def _spent(self, budgets: Iterable[Budget], nano_usd: int) -> None:
        now = time.time()
        for budget in budgets:
            spent = budget.spent(now)
            if isinstance(spent, Counted):
                spent.nano_usd += nano_usd
        self._warn(budgets, now)

    def _warn(self, budgets: Iterable[Budget], now: float) -> None:
        for budget in budgets:
            for threshold in budget.newly_passed(now):
                self._notices.tell(budget, budget.status(now), threshold)

    def _of(self, call: LLMCall) -> tuple[Budget, ...]:
        """The budgets of a call, by the model that it asks for."""
        values = (call.agent_name, call.provider, call.model, *call.extra)
        found = self._known.get(values)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            labels = dict(zip(self._calls.extra_labels, call.extra, strict=True))
            call_labels = (call.agent_name, call.provider, call.model)
            found = self._known[values] = tuple(
                b for b in self._budgets if b.ledger_scope().takes(*call_labels, labels)
            )
        return found

    def forget_in_flight(self) -> None:
        """In a forked child: what is reserved is for calls of the parent's."""
        self._lock = threading.Lock()
        for budget in self._budgets:
            budget.reserved_nano = 0


def check_budgets(budgets: Sequence[Budget], extra_labels: Sequence[str]) -> None:
    """Raise ``ValueError`` when two have one name, or one names a label that calls do not have."""
    names = [budget.name for budget in budgets]
    for budget in budgets:
        if names.count(budget.name) > 1:
            raise ValueError(f"two budgets are called {budget.name!r}: each has its own name")
        for label in budget.scope:
            if label not in (*CALL_LABELS, *extra_labels):
                raise ValueError(
                    f"budget {budget.name!r}: {label!r} is no label of calls; "
                    f"there are {', '.join((*CALL_LABELS, *extra_labels))}"
                )


_all: weakref.WeakSet[Budgets] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for budgets in list(_all):
        budgets.forget_in_flight()


os.register_at_fork(after_in_child=_after_fork_in_child)
