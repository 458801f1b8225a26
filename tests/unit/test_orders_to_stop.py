"""A signal handler between any two steps of a call of ours: one that raises, as Ctrl-C does, and
one that makes calls itself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

import agentmetrics
from agentmetrics import Budget, Budgets, Ledger, MemoryRecorder, track_call, track_run, track_tool
from agentmetrics.budget.budgets import state
from agentmetrics.budget.budgets.state import Reserved
from agentmetrics.calls.context import run_here
from agentmetrics.recording import fork

PACKAGE = str(Path(agentmetrics.__file__).parent)
IN_FLIGHT = ("llm_active_calls", "agent_active_runs", "tool_executions_active")


class Stop(BaseException):
    """What the handler raises."""


def stop() -> None:
    raise Stop


class Interrupted:
    """Runs some work, and a handler at one of the places where Python runs them: where a function
    of ours is entered, and where one of C has returned to it."""

    def __init__(self, at: int, handler: Callable[[], object] = stop) -> None:
        self._at, self._handler, self.passed = at, handler, 0

    def run(self, work: Callable[[], object]) -> None:
        before = sys.getprofile()
        sys.setprofile(self._look)
        try:
            work()
        finally:
            sys.setprofile(before)

    def _look(self, frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(PACKAGE):
            self.passed += 1
            if self.passed == self._at:
                sys.setprofile(None)
                self._handler()


@pytest.fixture(params=["process", "ledger"])
def budget(request: pytest.FixtureRequest) -> Budget:
    return Budget("all", 1e6, action="block", reserve="max_tokens", reserve_in=request.param)


@pytest.fixture
def ledger(tmp_path: Path, recorder: MemoryRecorder) -> Iterator[Ledger]:
    made = Ledger(f"sqlite:///{tmp_path}/x.db", flush_interval_seconds=3600)
    made.attach(recorder)
    yield made
    made.close()


@pytest.fixture
def budgets(recorder: MemoryRecorder, budget: Budget, ledger: Ledger) -> Iterator[Budgets]:
    made = Budgets([budget], recorder, ledger=ledger, on_ledger_error="block")
    made.load()
    yield made
    made.close()


def call(recorder: MemoryRecorder, agent: str) -> None:
    with (
        track_run(agent, recorder=recorder, max_cost_usd=1e6),
        track_tool("tool", recorder=recorder),
        track_call(
            "openai", "gpt-4o-mini", recorder=recorder, max_input_tokens=9, max_output_tokens=9
        ) as made,
    ):
        made.record_usage(9, 9)


def locks_held() -> list[object]:
    """Those that another thread cannot have."""
    found: list[object] = []

    def look() -> None:
        for lock, _ in (*fork._items(fork._held), *fork._items(fork._renewed)):
            if lock.acquire(timeout=1):
                lock.release()
            else:
                found.append(lock)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(60)
    return found


def test_a_handler_that_raises_costs_its_call_at_most_and_leaves_nothing_behind(
    recorder: MemoryRecorder, ledger: Ledger, budget: Budget, budgets: Budgets
) -> None:
    def counted(agent: str) -> float:
        return recorder.value("llm_calls_total", agent_name=agent)

    call(recorder, "told to stop")
    whole = Interrupted(0)
    whole.run(lambda: call(recorder, "told to stop"))
    places = range(1, whole.passed, 29 if budget.is_shared else 7)
    before, stopped = counted("told to stop"), 0
    for at in places:
        told = Interrupted(at)
        try:
            told.run(lambda: call(recorder, "told to stop"))
        except Stop:
            stopped += 1
        else:
            assert told.passed < at, "the order was lost"
        call(recorder, "next")
        assert 0 <= counted("told to stop") - before <= 1, at
        assert [recorder.value(name) for name in IN_FLIGHT] == [0, 0, 0], at
        assert budget.status().reserved_usd == 0, at
        assert run_here() is None, at
        before = counted("told to stop")
    assert stopped > len(places) / 2
    assert budgets._shared is None or not budgets._shared._held
    assert locks_held() == []
    assert counted("next") == len(places)
    ledger._writer.spool.patience_seconds = 0.0
    written = {each.labels["agent_name"]: each.amounts.calls for each in ledger.summary().groups}
    assert written["next"] == len(places)


def test_a_budget_is_asked_in_the_middle_of_giving_back_what_nobody_settled(
    budget: Budget, budgets: Budgets
) -> None:
    def left_behind() -> None:
        """Reserved for calls that were told to stop."""
        for _ in range(3):
            Reserved(1_000_000).take_from(budgets._states)

    def asked() -> None:
        assert [each.reserved_usd for each in budgets.status()] == [0]

    left_behind()
    whole = Interrupted(0)
    whole.run(asked)
    assert whole.passed > 10
    for at in range(1, whole.passed + 1):
        left_behind()
        Interrupted(at, asked).run(asked)
        asked()


LIMITS = {
    "warning": Budget("all", 1e6),
    "blocking": Budget("all", 1e6, action="block"),
    "reserving": Budget("all", 1e6, action="block", reserve="max_tokens"),
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_budgets_keep_nothing_of_calls_that_have_ended(
    recorder: MemoryRecorder, limit: Budget
) -> None:
    budgets = Budgets([limit], recorder)
    for _ in range(100):
        call(recorder, "any")
    assert (len(state._dropped), len(state._noted)) == (0, 0)
    budgets.close()
