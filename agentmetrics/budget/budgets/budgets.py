"""The budgets in force at a recorder: what lets calls through, counts them, and gives warning."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING, Literal

from agentmetrics.budget.budgets.budget import CALL_LABELS, Budget, BudgetStatus, Spent
from agentmetrics.budget.budgets.notices import Notices
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.budget.periods import Span
from agentmetrics.calls.facts import LLMCall
from agentmetrics.calls.table import BoundOf, open_calls
from agentmetrics.errors import BudgetExceeded
from agentmetrics.meters.budget import BudgetMeter
from agentmetrics.meters.llm import LLMMeter
from agentmetrics.recording.recorder import Recorder

if TYPE_CHECKING:
    from agentmetrics.budget.ledger.ledger import Ledger

OnLedgerError = Literal["allow", "block"]
_MAX_KNOWN = 10_000
_Passed = tuple[Budget, BudgetStatus, float]


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
        self._scopes = tuple((budget, budget.ledger_scope()) for budget in self._budgets)
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
            from agentmetrics.budget.ledger.database import LedgerUnavailable

            self.status()  # begins to follow
            with suppress(LedgerUnavailable):
                self._ledger.flush()

    def _follow(self, budget: Budget, span: Span) -> Spent | None:
        if self._ledger is None:
            return None
        since, until = (datetime.fromtimestamp(end, timezone.utc) for end in span)
        return self._ledger.follow(budget.ledger_scope(), since, until)

    def status(self) -> list[BudgetStatus]:
        """How every budget stands now."""
        now = time.time()
        passed = self._newly_passed(self._budgets, now)  # by what other processes spent, too
        with Budget.lock:
            standing = [budget.status(now) for budget in self._budgets]
        self._warn(passed)
        return standing

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
        with Budget.lock:
            refused = self._refusal(budgets, most, now)
            if refused is None:
                for budget in reserving:
                    budget.reserved_nano += most or 0
        if refused is not None:
            self._meter.blocked(refused.budget, refused.period)
            raise refused

        def settle(ended: LLMCall) -> None:
            with Budget.lock:
                for budget in reserving:
                    budget.reserved_nano -= most or 0
                passed = self._spend(budgets, ended) if ended.cost_usd else ()
            self._warn(passed)

        return settle

    def _refusal(
        self, budgets: Iterable[Budget], most: int | None, now: float
    ) -> BudgetExceeded | None:
        for budget in budgets:
            reason = self._reason(budget, most, now) if budget.action == "block" else ""
            if reason:
                return budget.exceeded(now, reason)
        return None

    def _reason(self, budget: Budget, most: int | None, now: float) -> str:
        """Why a budget refuses a call; empty where it does not."""
        spent = budget.spent_nano(now)
        taken = spent + budget.reserved_nano
        if self._strict and self._ledger is not None and self._ledger.failure is not None:
            return "cannot be checked, its ledger is away"
        if spent >= budget.limit_nano:
            return "is spent"
        if budget.reserve and most is None:
            return "takes only calls that say their max_tokens and whose price is known"
        if taken >= budget.limit_nano or taken + (most or 0) > budget.limit_nano:
            return "has not left what the call may cost"
        return ""

    def _most(self, call: LLMCall, bound: BoundOf) -> int | None:
        """The most that a call can cost, in nano-dollars; ``None`` where nobody can know."""
        try:
            most = bound()
            if most is None or most.input_tokens < 0 or most.output_tokens < 0:
                return None
            cost = self._prices.most_usd(call.provider, call.model, *most)
        except Exception as error:  # what is sent may be anything
            self._calls.failed("admit", error)
            return None
        return None if cost is None else round(cost * NANO)

    def _spend(self, budgets: Iterable[Budget], ended: LLMCall) -> Sequence[_Passed]:
        """Count a call for the budgets that it was admitted to; what thresholds that passes.

        A ledger's rows show it to those whose scope takes the model that served, too.
        """
        shown = () if self._ledger is None else self._of(ended)
        now = time.time()
        for budget in budgets:
            if budget not in shown:
                budget.spend(round((ended.cost_usd or 0) * NANO), now)
        return self._newly_passed(budgets, now)

    def _newly_passed(self, budgets: Iterable[Budget], now: float) -> list[_Passed]:
        with Budget.lock:
            return [
                (budget, budget.status(now), threshold)
                for budget in budgets
                for threshold in budget.newly_passed(now)
            ]

    def _warn(self, passed: Iterable[_Passed]) -> None:
        for notice in passed:  # without the lock: a logging handler may ask how budgets stand
            self._notices.tell(*notice)

    def _of(self, call: LLMCall) -> tuple[Budget, ...]:
        """The budgets of a call, by the labels that it has now."""
        values = (call.agent_name, call.provider, call.model, *call.extra)
        found = self._known.get(values)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            labels = dict(zip(self._calls.extra_labels, call.extra, strict=True))
            call_labels = (call.agent_name, call.provider, call.model)
            found = self._known[values] = tuple(
                budget for budget, scope in self._scopes if scope.takes(*call_labels, labels)
            )
        return found

    def forget_in_flight(self) -> None:
        """In a forked child: what is reserved is for calls of the parent's."""
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
