"""The budgets in force at a recorder: they admit calls, count them, and warn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING, Literal

from agentmetrics.budget.budgets.budget import Budget, BudgetStatus
from agentmetrics.budget.budgets.checks import check_budgets, check_shared
from agentmetrics.budget.budgets.first_question import (
    FIRST_CALL_SECONDS,
    START_SECONDS,
    FirstQuestion,
)
from agentmetrics.budget.budgets.notices import Notices
from agentmetrics.budget.budgets.shared_reserve import Lease, SharedReserve, labels_of
from agentmetrics.budget.budgets.state import (
    BudgetState,
    Reserved,
    Spent,
    lock,
    state_of,
)
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.budget.notify.courier import unclaimed
from agentmetrics.budget.periods import Span
from agentmetrics.calls.facts import Ceiling, LLMCall
from agentmetrics.errors import BudgetExceeded, LedgerUnavailable
from agentmetrics.meters.budget import BudgetMeter
from agentmetrics.pipeline import CeilingOf, pipeline_of
from agentmetrics.pricing.places import tier_at
from agentmetrics.recording.fork import ForkAware, watch_forks
from agentmetrics.recording.recorder import Recorder

if TYPE_CHECKING:
    from agentmetrics.budget.ledger.ledger import Ledger

OnLedgerError = Literal["allow", "block"]
_MAX_KNOWN = 10_000
UNREACHABLE = "cannot be checked because its ledger is unreachable"
UNCHECKED = "cannot be checked"
SPENT = "is spent"
TOO_LITTLE = "cannot cover the most that the call could cost"
_Passed = tuple[Budget, BudgetStatus, float]


class Budgets(ForkAware):
    """Applies budgets to every LLM call of a recorder.

    With a ledger, spend includes all processes that write to it, as of the last flush, and every
    finished call of this process; without one, spend starts at 0 with the process. A process that
    has not heard from its ledger asks it before its first call of a blocking budget, for up to a
    second. While the ledger does not answer or cannot be written to, ``on_ledger_error="block"``
    refuses the calls of blocking budgets.

    Raises ``ValueError`` when two budgets have the same name, a scope contains an unknown label, or
    a destination of notices has no usable URL.
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
        limits = tuple(budgets)
        self._pipeline = pipeline_of(recorder)
        check_budgets(limits, self._pipeline.extra_labels)
        check_shared(limits, has_ledger=ledger is not None)
        self._ledger, self._strict = ledger, on_ledger_error == "block"
        claim = unclaimed if ledger is None else ledger.claim
        self._notices = Notices(limits, claim, lambda: self._meter.notice_lost())
        self._known: dict[tuple[str, ...], tuple[BudgetState, ...]] = {}
        self._states = tuple(state_of(budget, self._follow, zone) for budget in limits)
        self._filters = tuple((state, state.budget.calls()) for state in self._states)
        self._meter = BudgetMeter(self._pipeline.make, self.status)
        for budget in budgets:
            self._meter.expect(budget.name, budget.period)
        self._pipeline.guard(self._admit)
        self._question: FirstQuestion | None = None
        self._shared: SharedReserve | None = None
        if ledger is not None and any(budget.is_shared for budget in limits):
            self._shared = SharedReserve(ledger, ledger.reservations())
        if ledger is not None:
            self._question = FirstQuestion(ledger.catch_up)
            ledger.upkeep.add("first question of budgets", self._question.answered, 0.0)
            # Where no call ends and nobody scrapes, others may still spend.
            ledger.upkeep.add("budgets", self._notice_others, 0.0)
        watch_forks(self)

    def load(self) -> None:
        """Ask the ledger for earlier spend; an unreachable ledger is asked again at its next write.

        Blocks for as long as the database takes, up to ten seconds.
        """
        if self._question is not None:
            self._ask(self._question, START_SECONDS)

    def _ask(self, question: FirstQuestion, seconds: float) -> None:
        self.status()  # begins to follow
        if not question.ask(seconds):
            self._unanswered(f"no answer within {seconds:g} s")

    def _unanswered(self, why: str) -> None:
        self._meter.unanswered()
        self._pipeline.problems.warn(
            "unanswered",
            "the ledger was asked before a call and did not answer; until it does, %s: %s",
            "blocking budgets refuse calls"
            if self._strict
            else "budgets know no more than this process",
            why,
        )

    def _follow(self, budget: Budget, span: Span) -> Spent | None:
        if self._ledger is None:
            return None
        since, until = (datetime.fromtimestamp(end, timezone.utc) for end in span)
        return self._ledger.follow(budget.scope, since, until)

    def status(self) -> list[BudgetStatus]:
        """The current status of every budget."""
        now = time.time()
        self._notice_others()
        with lock:
            return [state.status(now) for state in self._states]

    def _notice_others(self) -> None:
        """Warn of thresholds that were passed by what other processes spent, too."""
        now = time.time()
        self._warn(self._newly_passed(self._states, now))
        self._warn_unpriced(self._states, now)

    def close(self) -> None:
        """Admit every call from now on."""
        self._pipeline.unguard(self._admit)
        if self._ledger is not None and self._question is not None:
            self._ledger.upkeep.remove(self._question.answered)
            self._ledger.upkeep.remove(self._notice_others)
        if self._shared is not None:
            self._shared.close()
        self._states = ()
        self._notices.close()

    def _admit(self, call: LLMCall, ceiling: CeilingOf) -> Callable[[LLMCall], None]:
        states = self._of(call)
        try:
            return self._admitted(states, call, ceiling)
        except BudgetExceeded:
            raise
        except Exception as error:
            blocking = [state for state in states if state.budget.action == "block"]
            if call.ended or not blocking:
                raise
            self._pipeline.failed("admit", error)
            refused = blocking[0].exceeded(time.time(), UNCHECKED)
            self._meter.blocked(refused.budget, refused.period)
            raise refused from None

    def _admitted(
        self, states: Sequence[BudgetState], call: LLMCall, ceiling: CeilingOf
    ) -> Callable[[LLMCall], None]:
        if self._question is not None and self._question.is_open and not call.ended:
            if any(state.budget.action == "block" for state in states):
                self._ask(self._question, FIRST_CALL_SECONDS)
        reserving = [state for state in states if state.budget.reserve]
        most = self._most(call, ceiling) if reserving else None
        reserved = Reserved(most or 0) if reserving else None
        now = time.time()
        with lock:
            refused = None if call.ended else self._refusal(states, most, now)
            if refused is None and reserved is not None:
                reserved.take_from(reserving)
        reservation = None
        if refused is None and reserved is not None and not call.ended:
            try:
                reservation, refused = self._reserve_in_ledger(call, reserving, most or 0, now)
            except BaseException:
                with lock:
                    reserved.give_back()
                raise
            if refused is not None:
                with lock:
                    reserved.give_back()
        if refused is not None:
            self._meter.blocked(refused.budget, refused.period)
            raise refused

        def settle(ended: LLMCall) -> None:
            with lock:
                if reserved is not None:
                    reserved.give_back()
                passed = self._spend(states, ended)
            if ended.cost_usd is None:
                self._warn_unpriced(states, time.time())
            if self._shared is not None and reservation is not None:
                self._shared.settle(reservation)
            self._warn(passed)

        return settle

    def _reserve_in_ledger(
        self, call: LLMCall, reserving: Iterable[BudgetState], most: int, now: float
    ) -> tuple[Lease | None, BudgetExceeded | None]:
        """What is to be settled, or why the call is refused; neither where nothing is reserved."""
        states = [state for state in reserving if state.budget.is_shared]
        if self._shared is None or not states:
            return None, None
        labels = labels_of(call, self._pipeline.extra_labels)
        try:
            taken = self._shared.take(labels, most, [state.demand(now) for state in states])
        except LedgerUnavailable as error:
            self._unanswered(str(error))
            refused = states[0].exceeded(now, UNREACHABLE) if self._strict else None
            return None, refused
        self._pipeline.problems.over("unanswered")
        if isinstance(taken, Lease):
            return taken, None
        state = states[taken.demand]
        is_spent = taken.spent_nano >= state.budget.limit_nano
        return None, state.exceeded(now, SPENT if is_spent else TOO_LITTLE, taken.spent_nano)

    def _refusal(
        self, states: Iterable[BudgetState], most: int | None, now: float
    ) -> BudgetExceeded | None:
        for state in states:
            reason = self._reason(state, most, now) if state.budget.action == "block" else ""
            if reason:
                return state.exceeded(now, reason)
        return None

    def _reason(self, state: BudgetState, most: int | None, now: float) -> str:
        """Why a budget refuses a call; empty where it does not."""
        budget, spent = state.budget, state.spent_nano(now)
        taken = spent + state.reserved_nano
        if self._strict and self._is_unanswered():
            return UNREACHABLE
        if spent >= budget.limit_nano:
            return SPENT
        if budget.reserve and most is None:
            return "only admits calls that set max_tokens and have a known price"
        if taken >= budget.limit_nano or taken + (most or 0) > budget.limit_nano:
            return TOO_LITTLE
        return ""

    def _is_unanswered(self) -> bool:
        """Whether there is a ledger that does not say what is spent, or cannot be told."""
        if self._ledger is None or self._question is None:
            return False
        return self._ledger.failure is not None or not self._question.is_answered

    def _most(self, call: LLMCall, ceiling: CeilingOf) -> int | None:
        """The most that a call can cost, in nano-dollars; ``None`` where nobody can know."""
        try:
            most = ceiling()
            if most is None:
                return None
            known = Ceiling.of(most.input_tokens, most.output_tokens)
            tokens = known._replace(service_tier=tier_at(most.service_tier, call.place))
            cost = self._pipeline.prices.most_usd(call.provider, call.model, *tokens)
            return None if cost is None or not cost >= 0 else round(cost * NANO)
        except Exception as error:  # what is sent may be anything
            self._pipeline.failed("admit", error)
            return None

    def _spend(self, states: Iterable[BudgetState], ended: LLMCall) -> Sequence[_Passed]:
        """Count a call for the budgets that it was admitted to; what thresholds that passes.

        A ledger's rows show it to those whose scope takes the model that served, too.
        """
        if ended.cached or (not ended.cost_usd and ended.is_unmetered):
            return ()
        now = time.time()
        shown = () if self._ledger is None else self._of(ended)
        for state in states:
            if state in shown:
                continue
            if ended.cost_usd is None:
                state.miss(now)
            else:
                state.spend(round(ended.cost_usd * NANO), now)
        return self._newly_passed(states, now)

    def _newly_passed(self, states: Iterable[BudgetState], now: float) -> list[_Passed]:
        with lock:
            return [
                (state.budget, state.status(now), threshold)
                for state in states
                for threshold in state.newly_passed(now)
            ]

    def _warn(self, passed: Iterable[_Passed]) -> None:
        for notice in passed:  # without the lock: a logging handler may ask how budgets stand
            self._notices.tell(*notice)

    def _warn_unpriced(self, states: Iterable[BudgetState], now: float) -> None:
        """Say once a period of each budget that there are calls which it cannot see the cost of."""
        for state in states:
            calls = state.newly_unpriced(now)
            if calls:
                self._notices.tell_unpriced(state.budget, calls)

    def _of(self, call: LLMCall) -> tuple[BudgetState, ...]:
        """The budgets of a call, by the labels that it has now."""
        call_labels = (call.agent_name, call.provider, call.model, call.served_model)
        values = (*call_labels, *call.extra)
        found = self._known.get(values)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            labels = dict(zip(self._pipeline.extra_labels, call.extra, strict=True))
            found = self._known[values] = tuple(
                state for state, calls in self._filters if calls.takes(*call_labels, labels)
            )
        return found

    def after_fork_in_child(self) -> None:
        for state in self._states:
            state.reserve_anew()
