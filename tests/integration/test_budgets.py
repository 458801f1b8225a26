"""Budgets over a real ledger, real HTTP and several processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

import agentmetrics
from agentmetrics import (
    Budget,
    BudgetExceeded,
    ConfigurationError,
    InstrumentedAgent,
    Ledger,
    MemoryRecorder,
    MetricsCallbackHandler,
    track_call,
)
from agentmetrics.budget.budgets.budgets import Budgets
from agentmetrics.config.active import replaced
from tests.integration.apps import traffic
from tests.services.postgres import PostgresServer
from tests.services.wire import Answer, Wire

ROOT = Path(__file__).parents[2]
CENT = 4000  # input tokens of gpt-4o
NEVER = 3600.0
SPEND = """\
import sys
from agentmetrics import BudgetExceeded, configure, get_ledger, track_call
configure()
made = 0
for _ in range(int(sys.argv[1])):
    try:
        with track_call("openai", "gpt-4o", agent_name="planner") as call:
            call.record_usage(input_tokens=4000, output_tokens=0)
            made += 1
    except BudgetExceeded:
        pass
print(made)
"""


def spend(recorder: MemoryRecorder, calls: int = 1, model: str = "gpt-4o-2024-08-06") -> None:
    for _ in range(calls):
        with track_call("openai", model, agent_name="planner", recorder=recorder) as call:
            call.record_usage(input_tokens=CENT, output_tokens=0)


def in_force(url: str, budget: Budget, **options: Any) -> tuple[MemoryRecorder, Ledger, Budgets]:
    recorder, ledger = MemoryRecorder(), Ledger(url, flush_interval_seconds=NEVER)
    ledger.attach(recorder)
    budgets = Budgets([budget], recorder, ledger=ledger, **options)
    budgets.load()
    return recorder, ledger, budgets


def blocking(limit_usd: float, **options: Any) -> Budget:
    return Budget("team", limit_usd, action="block", **options)


class TestWithALedger:
    def test_a_restart_finds_the_sums_again(self, ledger_url: str) -> None:
        recorder, ledger, _ = in_force(ledger_url, blocking(0.03))
        spend(recorder, 2)
        ledger.close()
        recorder, ledger, budgets = in_force(ledger_url, blocking(0.03))
        assert budgets.status()[0].spent_usd == pytest.approx(0.02)
        spend(recorder)
        with pytest.raises(BudgetExceeded):
            spend(recorder)
        ledger.close()

    def test_what_others_spend_counts_from_their_flush_and_ours_on(self, ledger_url: str) -> None:
        ours, our_ledger, _ = in_force(ledger_url, blocking(0.03))
        theirs, their_ledger, _ = in_force(ledger_url, Budget("other", 1))
        spend(theirs, 2)
        spend(ours)
        their_ledger.flush()
        spend(ours)  # not known here yet
        our_ledger.flush()
        with pytest.raises(BudgetExceeded) as refused:
            spend(ours)
        assert refused.value.spent_usd == pytest.approx(0.04)
        our_ledger.close()
        their_ledger.close()

    def test_a_model_is_meant_by_its_dated_names(self, ledger_url: str) -> None:
        recorder, ledger, _ = in_force(ledger_url, Budget("any", 1))
        spend(recorder, 2, model="gpt-4o-2024-08-06")
        spend(recorder, 3, model="gpt-4o-mini")
        ledger.close()
        _, ledger, budgets = in_force(ledger_url, Budget("4o", 1, scope={"model": "gpt-4o"}))
        assert budgets.status()[0].spent_usd == pytest.approx(0.02)
        ledger.close()

    def test_every_call_is_in_the_sum_once_whatever_was_flushed(self, ledger_url: str) -> None:
        recorder, ledger, budgets = in_force(ledger_url, Budget("team", 100))
        for number in range(1, 40):
            spend(recorder)
            if number % 3 == 0:
                ledger.flush()
            assert budgets.status()[0].spent_usd == pytest.approx(number / 100)
        ledger.close()

    @pytest.mark.parametrize("choice", ["allow", "block"])
    def test_a_ledger_that_is_away_blocks_those_who_ask_for_it(
        self, choice: Any, postgres_server: PostgresServer
    ) -> None:
        recorder, ledger, _ = in_force(
            postgres_server.new_database(), blocking(1), on_ledger_error=choice
        )
        spend(recorder)
        ledger.flush()
        postgres_server.stop()
        try:
            spend(recorder)
            with pytest.raises(agentmetrics.LedgerUnavailable):
                ledger.flush()
            if choice == "block":
                with pytest.raises(BudgetExceeded, match="its ledger is unreachable"):
                    spend(recorder)
            else:
                spend(recorder)
        finally:
            postgres_server.start()
        ledger.flush()
        spend(recorder)
        ledger.close()


class TestProcesses:
    def test_processes_together_overspend_by_what_they_have_not_flushed_at_most(
        self, tmp_path: Path
    ) -> None:
        budgets = tmp_path / "budgets.toml"
        budgets.write_text('[budgets.team]\nlimit_usd = 1\naction = "block"\n')
        env = {
            "AGENTMETRICS_LEDGER_URL": f"sqlite:///{tmp_path / 'spend.db'}",
            "AGENTMETRICS_BUDGETS_FILE": str(budgets),
            "PYTHONPATH": str(ROOT),
            "PATH": "",
        }

        def run(calls: int) -> int:
            command = [sys.executable, "-c", SPEND, str(calls)]
            done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
            return int(done.stdout)

        assert run(60) == 60
        assert run(60) == 40  # a program after it goes on where that one stopped
        assert run(60) == 0
        asked = [sys.executable, "-m", "agentmetrics.cli", "cost", "--json"]
        done = subprocess.run(asked, env=env, check=True, capture_output=True, text=True)
        (team,) = json.loads(done.stdout)["budgets"]
        assert (team["budget"], team["spent_usd"], team["remaining_usd"]) == ("team", 1.0, 0.0)
        table = subprocess.run(asked[:-1], env=env, check=True, capture_output=True, text=True)
        assert "team" in table.stdout.partition("Budgets")[2]


class TestOverHttp:
    def test_no_request_leaves_for_a_call_that_is_blocked(self, wire: Wire) -> None:
        recorder = MemoryRecorder()
        Budgets([blocking(0.01)], recorder)
        model = traffic.openai(wire, "planner", "gpt-4o")
        config: Any = {"callbacks": [MetricsCallbackHandler(recorder)]}
        wire.script("gpt-4o", Answer(fresh=CENT, output=1))
        model.invoke("x", config)

        async def refused() -> None:
            with pytest.raises(BudgetExceeded):
                await model.ainvoke("x", config)
            with pytest.raises(BudgetExceeded):
                await anext(model.astream("x", config))

        asyncio.run(refused())
        assert wire.count() == 1
        assert recorder.value("budget_blocked_calls_total") == 2

    def test_fifty_calls_at_once_overspend_nothing_where_it_is_reserved(self, wire: Wire) -> None:
        recorder = MemoryRecorder()
        Budgets([blocking(0.05, reserve="max_tokens")], recorder)
        model = traffic.openai(wire, "planner", "gpt-4o", max_tokens=400)
        config: Any = {"callbacks": [MetricsCallbackHandler(recorder)]}
        answers = [Answer(fresh=10, output=400, seconds=0.05)] * 50
        wire.script("gpt-4o", *answers)

        async def run() -> list[Any]:
            asked = [model.ainvoke([HumanMessage("x")], config) for _ in range(50)]
            return await asyncio.gather(*asked, return_exceptions=True)

        ended = asyncio.run(run())
        refused = sum(isinstance(result, BudgetExceeded) for result in ended)
        assert refused > 0
        assert wire.count() + refused == 50
        assert 0.02 < recorder.value("llm_cost_usd_total") <= 0.05
        with suppress(AssertionError):  # the answers that nobody asked for
            wire.forget()

    def test_an_agent_that_loops_is_stopped(self, wire: Wire) -> None:
        class Looping(InstrumentedAgent):
            max_run_cost_usd = 0.02
            recorder = MemoryRecorder()

            async def run(self) -> None:
                while True:
                    await traffic.openai(wire, "Looping", "gpt-4o").ainvoke("x")

        wire.script("gpt-4o", *[Answer(fresh=CENT, output=1)] * 2)
        with pytest.raises(BudgetExceeded):
            asyncio.run(Looping().run())
        assert wire.count() == 2


class TestSettings:
    def test_a_file_of_budgets_comes_into_force_with_configure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "budgets.toml"
        path.write_text('[budgets.team]\nlimit_usd = 0\naction = "block"\n')
        monkeypatch.setenv("AGENTMETRICS_BUDGETS_FILE", str(path))
        with replaced(MemoryRecorder()):
            agentmetrics.configure()
            with pytest.raises(BudgetExceeded), track_call("openai", "gpt-4o"):
                raise AssertionError("nothing was to run")
            monkeypatch.delenv("AGENTMETRICS_BUDGETS_FILE")
            agentmetrics.configure()
            with track_call("openai", "gpt-4o"):
                pass

    def test_budgets_in_code_have_a_status(self) -> None:
        team = Budget("team", 1)
        with replaced(MemoryRecorder()):
            agentmetrics.configure(MemoryRecorder(), budgets=[team])
            with track_call("openai", "gpt-4o") as call:
                call.record_usage(input_tokens=CENT, output_tokens=0)
            assert team.status().remaining_usd == pytest.approx(0.99)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[budgets.a]\nlimit_usd = -1", "limit_usd=-1: must be a number of at least 0"),
            ("[budgets.a]\nlimit_usd = 1\n[budgets.a]", "line 3"),
            ("[budgets.a]\nlimit_usd = 1\nscope = {tenant = 'x'}", "calls have no label 'tenant'"),
        ],
    )
    def test_a_mistake_stops_the_program_with_one_sentence(
        self, text: str, said: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "budgets.toml"
        path.write_text(text)
        with replaced(MemoryRecorder()), pytest.raises(ConfigurationError) as refused:
            agentmetrics.configure(budgets_file=path)
        assert str(refused.value).startswith("AGENTMETRICS_BUDGETS_FILE=")
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_a_mistake_in_code_names_no_file(self) -> None:
        twice = [Budget("team", 1), Budget("team", 2)]
        with replaced(MemoryRecorder()), pytest.raises(ConfigurationError, match=r"^two budgets"):
            agentmetrics.configure(budgets=twice)

    def test_a_ledger_that_forgets_too_soon_stops_the_program(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'spend.db'}"
        monthly = Budget("firm", 1, period="monthly")
        with replaced(MemoryRecorder()):
            with pytest.raises(ConfigurationError, match="DAYS to 32 or more"):
                agentmetrics.configure(budgets=[monthly], ledger_url=url, ledger_retention_days=31)
            agentmetrics.configure(budgets=[monthly], ledger_url=url, ledger_retention_days=32)
