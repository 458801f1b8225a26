"""Numbers that no model reaches, and rows that a database will never take, cost no other call."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from agentmetrics import Ledger, MemoryRecorder, Usage, track_call


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


@pytest.fixture
def ledger(tmp_path: Path, recorder: MemoryRecorder) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/x.db", flush_interval_seconds=1000) as ledger:
        ledger.attach(recorder)
        yield ledger


def call(recorder: MemoryRecorder, agent: str, tokens: int = 10) -> None:
    with track_call("openai", "gpt-4o", agent_name=agent, recorder=recorder) as tracked:
        tracked.record_response({"usage": {"prompt_tokens": tokens, "completion_tokens": 1}})


def test_tokens_that_no_model_has_are_no_count(ledger: Ledger, recorder: MemoryRecorder) -> None:
    for _ in range(1000):
        call(recorder, "innocent")
    call(recorder, "poisoned", 2**53)
    ledger.flush()
    assert recorder.value("agentmetrics_ledger_calls_lost_total") == 0
    assert recorder.value("llm_cost_usd_total", agent_name="poisoned") == 0
    assert recorder.value("llm_unpriced_calls_total") == 1
    assert ledger.summary().total.calls == 1001


NEVER = (
    "CREATE TRIGGER never BEFORE INSERT ON agentmetrics_ledger WHEN NEW.agent_name = 'poisoned' "
    "BEGIN SELECT RAISE(ABORT, 'never'); END"
)


def test_a_row_that_a_constraint_refuses_holds_up_no_other(
    ledger: Ledger, recorder: MemoryRecorder, tmp_path: Path
) -> None:
    ledger.flush()
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        [table] = database.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%cost_nano_usd%' AND type = 'table'"
        ).fetchone()
        database.execute(NEVER.replace("agentmetrics_ledger", table))
        database.commit()
    call(recorder, "innocent")
    call(recorder, "poisoned")
    ledger.flush()
    assert recorder.value("agentmetrics_ledger_calls_lost_total", reason="unwritable") == 1
    assert ledger.summary().total.calls == 1


def test_sums_in_the_database_do_not_overflow(ledger: Ledger, recorder: MemoryRecorder) -> None:
    most = 9_000_000_000.0  # USD: two of them are more than an integer of 64 bits has nano-dollars
    for agent in ("a", "b"):
        ledger.record_external(most, provider="openai", agent_name=agent, usage=Usage(2**62, 2**62))
        ledger.flush()
    total = ledger.summary().total
    assert (total.cost_usd, total.input_tokens) == (Decimal(2 * most), 2**63)
    ledger.record_external(most, provider="openai", agent_name="a")  # a row cannot hold it
    call(recorder, "innocent")
    ledger.flush()
    assert recorder.value("agentmetrics_ledger_calls_lost_total", reason="unwritable") == 1
    assert ledger.summary().total.calls == 3
