"""Budgets know what the ledger does, also in a process that makes no call itself."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agentmetrics import Budget, BudgetExceeded, Ledger, MemoryRecorder, configure, track_call
from agentmetrics.budget.budgets.budgets import Budgets, OnLedgerError
from agentmetrics.budget.ledger import engine
from agentmetrics.config.active import replaced

ROOT = Path(__file__).parents[2]
CENT = 4000  # input tokens of gpt-4o
SOON = 0.05
FORKED_AFTER_CONFIGURE = """\
import os, sys, time
from agentmetrics import Budget, configure, get_ledger, track_call

url = sys.argv[1]
team = Budget("team", limit_usd=1)
configure(ledger_url=url, ledger_flush_interval=0.05, budgets=[team])

def spend():
    with track_call("openai", "gpt-4o") as call:
        call.record_usage(input_tokens=4000, output_tokens=0)

def wait_for(spent_usd):
    while round(team.status().spent_usd, 9) != spent_usd:
        time.sleep(0.01)

idle = os.fork()
if idle == 0:
    wait_for(0.02)
    os._exit(0)
busy = os.fork()
if busy == 0:
    spend()
    wait_for(0.02)
    get_ledger().flush()  # what os._exit would lose
    os._exit(0)
spend()
for child in (idle, busy):
    assert os.waitpid(child, 0)[1] == 0
wait_for(0.02)
"""


def spend(recorder: MemoryRecorder) -> None:
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_usage(input_tokens=CENT, output_tokens=0)


def in_force(
    url: str, budget: Budget, on_ledger_error: OnLedgerError = "allow"
) -> tuple[MemoryRecorder, Ledger]:
    recorder, ledger = MemoryRecorder(), Ledger(url, flush_interval_seconds=SOON)
    ledger.attach(recorder)
    Budgets([budget], recorder, ledger=ledger, on_ledger_error=on_ledger_error).load()
    return recorder, ledger


def is_soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'spend.db'}"


def test_a_process_that_makes_no_call_sees_what_others_spend(url: str) -> None:
    idle = Budget("team", 1, action="block")
    _, ledger = in_force(url, idle)
    others, other_ledger = in_force(url, Budget("other", 1))
    spend(others)
    other_ledger.close()
    assert is_soon(lambda: idle.status().spent_usd == pytest.approx(0.01))
    ledger.close()


def test_a_ledger_that_was_away_at_the_start_blocks_until_it_is_back(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SQLITE_WAIT_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / "spend.db", isolation_level=None)
    other.execute("CREATE TABLE theirs (x)")
    other.execute("BEGIN EXCLUSIVE")
    recorder, ledger = in_force(url, Budget("team", 1, action="block"), "block")

    def is_let_through() -> bool:
        try:
            spend(recorder)
        except BudgetExceeded:
            return False
        return True

    assert not is_let_through()
    other.execute("ROLLBACK")
    other.close()
    assert is_soon(is_let_through)
    ledger.close()


def test_a_program_that_configures_and_then_forks_keeps_all_its_processes_current(
    url: str,
) -> None:
    done = subprocess.run(
        [*(sys.executable, "-W", "ignore::DeprecationWarning"), "-c", FORKED_AFTER_CONFIGURE, url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


@pytest.mark.parametrize(
    ("provider", "asked", "served"),
    [
        ("azure", "prod-chat", "gpt-4o-2024-11-20"),  # a deployment
        ("google", "gemini-flash-latest", "gemini-2.5-flash"),
    ],
)
def test_a_scope_of_the_name_that_code_asks_for_fills_though_another_is_written(
    provider: str, asked: str, served: str, url: str
) -> None:
    team = Budget("team", 0.02, action="block", scope={"model": asked})
    recorder, ledger = in_force(url, team)
    with track_call(provider, asked, recorder=recorder) as call:
        call.record_response(
            {"model": served, "usage": {"prompt_tokens": 8000, "completion_tokens": 8000}}
        )
    ledger.flush()
    with pytest.raises(BudgetExceeded), track_call(provider, asked, recorder=recorder):
        raise AssertionError("nothing was to run")
    assert team.status().spent_usd == pytest.approx(recorder.value("llm_cost_usd_total"))
    ledger.close()


def test_what_the_ledger_shows_is_in_the_sum_once(url: str) -> None:
    team = Budget("team", 1, scope={"model": "gpt-4o"})
    recorder, ledger = in_force(url, team)
    for asked in ("gpt-4o", "gpt-4o-2024-08-06"):
        with track_call("openai", asked, recorder=recorder) as call:
            call.record_response(
                {
                    "model": "gpt-4o-2024-08-06",
                    "usage": {"prompt_tokens": CENT, "completion_tokens": 0},
                }
            )
        ledger.flush()
    assert team.status().spent_usd == pytest.approx(0.02)
    ledger.close()


def test_budgets_that_are_configured_anew_know_what_was_not_yet_written(url: str) -> None:
    with replaced(MemoryRecorder()):
        for spent_before in (0.0, 0.01):
            team = Budget("team", 1)
            recorder = configure(
                backend="memory", budgets=[team], ledger_url=url, ledger_flush_interval=3600.0
            )
            assert team.status().spent_usd == pytest.approx(spent_before)
            with track_call("openai", "gpt-4o", recorder=recorder) as call:
                call.record_usage(CENT, 0)
