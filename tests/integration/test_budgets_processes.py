"""Budgets that several processes share: what they let through, and that reserving holds it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text

from agentmetrics import Budget, BudgetExceeded, Ledger, MemoryRecorder, track_call
from agentmetrics.budget.budgets import shared_reserve
from agentmetrics.budget.budgets.budgets import Budgets
from agentmetrics.budget.ledger import reservations
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.demand import Demand
from agentmetrics.budget.periods import Span
from tests.integration.apps import one_call_each, reserving
from tests.services.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
NANO = 10**9
CENT = 4000  # input tokens of gpt-4o
NEVER = 3600.0
HUGE = 10**18


def run(app: Any, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", app.__file__, *map(str, arguments)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        timeout=100,
        check=True,
        text=True,
    )
    return done.stdout


def is_soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return False


class Program:
    """One program that shares a ledger with others, as if in a process of its own."""

    def __init__(self, url: str, *budgets: Budget, **options: Any) -> None:
        self.recorder = MemoryRecorder()
        self.ledger = Ledger(url, flush_interval_seconds=NEVER)
        self.ledger.attach(self.recorder)
        self.budgets = Budgets(budgets, self.recorder, ledger=self.ledger, **options)

    @contextmanager
    def call(self, cents: float = 1, agent: str = "planner", **most: Any) -> Iterator[Any]:
        most = most or {"max_input_tokens": round(cents * CENT), "max_output_tokens": 0}
        with track_call(
            "openai", "gpt-4o", agent_name=agent, recorder=self.recorder, **most
        ) as call:
            yield call

    def spend(self, cents: float = 1, agent: str = "planner") -> None:
        with self.call(cents, agent) as call:
            call.record_usage(round(cents * CENT), 0)

    def is_let_through(self, cents: float = 1, agent: str = "planner") -> bool:
        try:
            self.spend(cents, agent)
        except BudgetExceeded:
            return False
        return True

    def close(self) -> None:
        self.budgets.close()
        self.ledger.close()


@pytest.fixture
def program(ledger_url: str) -> Iterator[Callable[..., Program]]:
    """``program(*budgets)`` starts another one at the ledger of this test."""
    started: list[Program] = []

    def start(*budgets: Budget, **options: Any) -> Program:
        started.append(Program(ledger_url, *budgets, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def shared(limit_usd: float, name: str = "team", **options: Any) -> Budget:
    reserving: Any = {"action": "block", "reserve": "max_tokens", "reserve_in": "ledger"}
    return Budget(name, limit_usd, **reserving, **options)


def asked(url: str, question: str) -> list[int]:
    """The numbers in the one column of an answer."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = [int(row[0]) for row in connection.execute(text(question))]
    engine.dispose()
    return found


def reserved(url: str) -> list[int]:
    """What is reserved in a ledger, reservation by reservation."""
    return asked(url, "SELECT nano_usd FROM agentmetrics_ledger_reservations")


def lease_end(url: str) -> int:
    return asked(url, "SELECT reserved_until FROM agentmetrics_ledger_reservations")[0]


class TestChildrenThatMakeOneCallEach:
    @pytest.mark.parametrize(("method", "tasks"), [("fork", 6), ("spawn", 3)])
    def test_one_at_a_time_lets_through_no_more_than_the_call_that_crosses_the_limit(
        self, method: str, tasks: int, tmp_path: Path
    ) -> None:
        url = f"sqlite:///{tmp_path / 'spend.db'}"
        assert int(run(one_call_each, url, method, 1, tasks)) == 2

    def test_several_at_once_let_through_what_was_under_way_or_being_written_besides(
        self, tmp_path: Path
    ) -> None:
        url = f"sqlite:///{tmp_path / 'spend.db'}"
        assert 2 <= int(run(one_call_each, url, "fork", 4, 20)) <= 2 * 4


class TestTheFirstCallOfAProcess:
    def test_knows_what_others_spent(self, program: Callable[..., Program]) -> None:
        other = program()
        other.spend()
        other.ledger.flush()
        late = program(Budget("team", 0.01, action="block"))
        assert not late.is_let_through()

    def test_of_a_budget_that_only_warns_asks_nobody(self, program: Callable[..., Program]) -> None:
        team = Budget("team", 0.01)
        assert program(team).is_let_through()
        assert team.status().ledger_read_at is None

    @pytest.mark.parametrize(("choice", "is_let_through"), [("allow", True), ("block", False)])
    def test_waits_no_longer_than_its_deadline_for_a_database_that_hangs(
        self, choice: str, is_let_through: bool, postgres: Callable[[], str]
    ) -> None:
        url = postgres()
        team = Budget("team", 1, action="block")
        started = Program(url, team, on_ledger_error=choice)
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE agentmetrics_ledger")  # in the way of every question
            assert started.is_let_through() is is_let_through
            assert team.status().ledger_read_at is None  # nobody waited for the answer
            assert started.recorder.value("agentmetrics_handler_errors_total", event="admit") == 1
        assert is_soon(lambda: team.status().ledger_read_at is not None)
        assert started.is_let_through()
        started.close()

    def test_says_when_the_ledger_was_read(self, program: Callable[..., Program]) -> None:
        team = Budget("team", 1, action="block")
        before = time.time()
        program(team).spend()
        status = team.status()
        assert status.ledger_read_at is not None
        assert before <= status.ledger_read_at.timestamp() <= status.as_of.timestamp()
        assert status.as_dict()["ledger_read_at"] == status.ledger_read_at.isoformat()


@dataclass(frozen=True)
class Outcome:
    """What a fleet spent by its own account, and what its ledger has."""

    by_agent: dict[str, int]
    written: int
    held: list[int]

    @property
    def spent(self) -> int:
        return sum(self.by_agent.values())


LIMIT_USD, AGENT_LIMIT_USD, KILLS = 0.006, 0.0025, 2
MOST_NANO = reserving.NANO_PER_TOKEN * reserving.MOST_TOKENS


def outcome_of(url: str, kills: int, directory: Path) -> Outcome:
    run(reserving, url, LIMIT_USD, AGENT_LIMIT_USD, kills, directory)
    by_agent: dict[str, int] = {}
    for path in directory.glob("*.spent"):
        agent = f"agent {int(path.stem) % reserving.AGENTS}"
        by_agent[agent] = by_agent.get(agent, 0) + sum(map(int, path.read_text().split()))
    Ledger(url).close()  # takes up what the dead have left
    with Database(url).snapshot() as snapshot:
        written = sum(amounts.cost_nano_usd for (amounts,) in snapshot.amounts(0, 2**40, []))
    return Outcome(by_agent, written, reserved(url))


class TestAFleetThatReservesInTheLedger:
    def test_spends_nearly_the_limit_and_nothing_over_it(
        self, postgres: Callable[[], str], tmp_path: Path
    ) -> None:
        outcome = outcome_of(postgres(), 0, tmp_path)
        assert LIMIT_USD * NANO - MOST_NANO < outcome.spent <= LIMIT_USD * NANO
        assert all(spent <= AGENT_LIMIT_USD * NANO for spent in outcome.by_agent.values())
        assert (outcome.written, outcome.held) == (outcome.spent, [])

    def test_spends_nothing_over_it_when_processes_are_killed(
        self, postgres: Callable[[], str], tmp_path: Path
    ) -> None:
        outcome = outcome_of(postgres(), KILLS, tmp_path)
        assert outcome.spent <= LIMIT_USD * NANO
        assert all(spent <= AGENT_LIMIT_USD * NANO for spent in outcome.by_agent.values())
        assert outcome.held  # what the dead had reserved is not given to others yet
        # Each may have died when it had noted what a call cost, and before that call's end.
        assert outcome.spent - KILLS * MOST_NANO <= outcome.written <= outcome.spent


class TestReservingInTheLedger:
    def test_a_call_under_way_elsewhere_counts_with_the_most_it_could_cost(
        self, program: Callable[..., Program]
    ) -> None:
        one, other = program(shared(0.03)), program(shared(0.03))
        with one.call(cents=2) as call:
            with pytest.raises(BudgetExceeded, match="cannot cover the most"), other.call(cents=2):
                raise AssertionError("nothing was to run")
            call.record_usage(10, 0)
        assert is_soon(lambda: other.is_let_through(cents=2))

    def test_of_many_that_ask_at_once_as_many_are_let_through_as_it_covers(
        self, ledger_url: str
    ) -> None:
        demand = Demand(shared(3).calls(), "daily", Span(0, 86_400), 3 * NANO)
        labels = {"agent_name": "a", "provider": "p", "model": "m", "dimensions": "{}"}
        tables = [reservations.Reservations(ledger_url) for _ in range(8)]
        tables[0].prepare()
        together = threading.Barrier(len(tables))

        def ask(number: int) -> bool:
            together.wait(30)
            return tables[number].take(str(number), labels, NANO, [demand]) is None

        with ThreadPoolExecutor(len(tables)) as threads:
            for _ in range(10):
                assert sum(threads.map(ask, range(len(tables)))) == 3
                assert reserved(ledger_url) == [NANO] * 3
                tables[0].release(list(map(str, range(len(tables)))))
        for table in tables:
            table.disconnect()

    def test_a_refusal_says_what_all_have_spent(self, program: Callable[..., Program]) -> None:
        one, other = program(shared(0.02)), program(shared(0.02))
        other.budgets.load()
        one.spend(cents=2)
        one.ledger.flush()
        with pytest.raises(BudgetExceeded, match="is spent") as refused, other.call():
            raise AssertionError("nothing was to run")
        assert refused.value.spent_usd == pytest.approx(0.02)
        assert other.recorder.value("budget_blocked_calls_total") == 1

    def test_a_call_of_two_budgets_reserves_from_both_or_from_neither(
        self, program: Callable[..., Program], ledger_url: str
    ) -> None:
        firm, planner = shared(1, "firm"), shared(0.01, scope={"agent_name": "planner"})
        one = program(firm, planner)
        with pytest.raises(BudgetExceeded) as refused, one.call(cents=2):
            raise AssertionError("nothing was to run")
        assert refused.value.budget == "team"
        assert (reserved(ledger_url), firm.status().reserved_usd) == ([], 0)
        with one.call(cents=1):
            assert reserved(ledger_url) == [NANO // 100]  # one for all of its budgets

    def test_a_budget_is_its_scope_whatever_it_is_called_and_whatever_its_limit(
        self, program: Callable[..., Program]
    ) -> None:
        old, new = program(shared(0.01, "old name")), program(shared(0.02, "new name"))
        with old.call(cents=1):
            assert not new.is_let_through(cents=1.5)
            assert new.is_let_through(cents=1)

    def test_budgets_of_one_name_and_other_scopes_have_nothing_in_common(
        self, program: Callable[..., Program]
    ) -> None:
        one = program(shared(0.01, scope={"agent_name": "planner"}))
        other = program(shared(0.01, scope={"agent_name": "writer"}))
        with one.call(agent="planner"):
            assert other.is_let_through(agent="writer")

    def test_a_cancelled_call_gives_back_what_it_reserved(
        self, program: Callable[..., Program], ledger_url: str
    ) -> None:
        one = program(shared(0.01))
        with pytest.raises(KeyboardInterrupt), one.call():
            raise KeyboardInterrupt
        assert is_soon(lambda: reserved(ledger_url) == [])
        assert one.is_let_through()

    def test_a_call_that_could_cost_more_than_any_database_holds_is_refused(
        self, program: Callable[..., Program], ledger_url: str
    ) -> None:
        one = program(shared(1))
        with (
            pytest.raises(BudgetExceeded, match="only admits calls that set max_tokens"),
            one.call(max_input_tokens=HUGE, max_output_tokens=HUGE),
        ):
            raise AssertionError("nothing was to run")
        assert reserved(ledger_url) == []

    @pytest.mark.parametrize("period", ["daily", "monthly"])
    def test_what_is_reserved_when_a_period_ends_counts_in_the_next(
        self, period: Any, ledger_url: str
    ) -> None:
        days = [Span(0, 86_400), Span(86_400, 172_800)]
        before, after = (Demand(shared(1).calls(), period, day, NANO) for day in days)
        labels = {"agent_name": "a", "provider": "p", "model": "m", "dimensions": "{}"}
        table = reservations.Reservations(ledger_url)
        assert table.take("1", labels, NANO, [before]) is None
        assert table.take("2", labels, 1, [after]) == (0, 0, NANO)
        table.release(["1"])
        assert table.take("2", labels, 1, [after]) is None
        table.disconnect()

    def test_what_was_spent_long_ago_in_the_period_counts(
        self, ledger_url: str, program: Callable[..., Program]
    ) -> None:
        one = program(shared(0.03, period="monthly"))
        start = one.budgets.status()[0].starts_at
        one.ledger.record_external(0.02, provider="openai", at=start)
        one.ledger.flush()
        other = program(shared(0.03, period="monthly"))
        assert not other.is_let_through(cents=2)
        assert other.is_let_through(cents=1)

    def test_what_a_call_cost_is_written_before_its_reservation_is_given_back(
        self, postgres: Callable[[], str]
    ) -> None:
        url = postgres()
        one, other = Program(url, shared(0.02)), Program(url, shared(0.02))
        with psycopg.connect(url) as third:
            third.execute("LOCK TABLE agentmetrics_ledger IN EXCLUSIVE MODE")  # reading goes on
            one.spend(cents=2)
            deadline = time.monotonic() + 4 * shared_reserve.SETTLE_SECONDS
            while time.monotonic() < deadline:
                assert not other.is_let_through()
        assert is_soon(lambda: reserved(url) == [])
        assert not other.is_let_through()
        one.close()
        other.close()

    def test_a_restart_of_the_database_is_noticed_by_nobody(
        self, postgres_server: PostgresServer
    ) -> None:
        url = postgres_server.new_database()
        one = Program(url, shared(0.03), on_ledger_error="block")
        with one.call():
            postgres_server.restart()
            assert one.is_let_through(cents=2)
            assert not one.is_let_through(cents=2)
        one.close()

    @pytest.mark.parametrize(("choice", "is_let_through"), [("allow", True), ("block", False)])
    def test_a_database_that_does_not_answer_in_time_follows_the_setting(
        self,
        choice: str,
        is_let_through: bool,
        postgres: Callable[[], str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(shared_reserve, "ANSWER_SECONDS", 0.3)
        monkeypatch.setattr(shared_reserve, "PAUSE_SECONDS", 0.1)
        url = postgres()
        one = Program(url, shared(0.02), on_ledger_error=choice)
        one.budgets.load()
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE agentmetrics_ledger_reservations")
            assert one.is_let_through() is is_let_through
            assert one.recorder.value("agentmetrics_handler_errors_total", event="admit") == 1
        # What was reserved too late is given back.
        assert is_soon(lambda: one.is_let_through(cents=1))
        assert is_soon(lambda: reserved(url) == [])
        one.close()


FORKED = """\
import os, sys
from agentmetrics import Budget, BudgetExceeded, MemoryRecorder, configure, track_call

team = Budget("team", 0.01, action="block", reserve="max_tokens", reserve_in="ledger")
configure(MemoryRecorder(), ledger_url=sys.argv[1], budgets=[team])
most = {"max_input_tokens": 4000, "max_output_tokens": 0}

def call():
    return track_call("openai", "gpt-4o", **most)

def is_refused():
    try:
        with call() as made:
            made.record_usage(4000, 0)
    except BudgetExceeded:
        return True
    return False

with call() as under_way:
    under_way.record_usage(1, 0)
    child = os.fork()
    if child == 0:
        code = 0 if team.status().reserved_usd == 0 and is_refused() else 1
        configure(MemoryRecorder(), budgets=[])  # the child's own are closed
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert is_refused()  # the child has given nothing back
"""


class TestAForkedChild:
    def test_leaves_alone_what_its_parent_reserved(self, postgres: Callable[[], str]) -> None:
        command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORKED]
        done = subprocess.run(
            [*command, postgres()],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr.decode()) == (0, "")


class TestAProcessThatDies:
    @pytest.fixture(autouse=True)
    def short_lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (reservations, shared_reserve):
            monkeypatch.setattr(module, "LEASE_SECONDS", 2)

    def test_holds_what_it_reserved_until_its_lease_ends(
        self, program: Callable[..., Program], ledger_url: str
    ) -> None:
        labels = {"agent_name": "a", "provider": "p", "model": "m", "dimensions": "{}"}
        dead = reservations.Reservations(ledger_url)  # nobody renews it
        assert dead.take("dead", labels, NANO // 100, []) is None
        one = program(shared(0.01))
        assert not one.is_let_through()
        assert is_soon(one.is_let_through)

        def is_forgotten() -> bool:
            dead.forget_expired()
            return reserved(ledger_url) == []

        assert is_soon(is_forgotten)
        dead.disconnect()

    def test_loses_nothing_while_it_lives(self, postgres: Callable[[], str]) -> None:
        url = postgres()
        one, other = Program(url, shared(0.01)), Program(url, shared(0.01))
        with one.call():
            first = lease_end(url)
            assert is_soon(lambda: lease_end(url) > first + 2)  # past its first lease
            assert not other.is_let_through()
        one.close()
        other.close()
