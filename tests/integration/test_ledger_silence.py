"""A PostgreSQL server that is there and does not answer, for which no driver has a deadline.

One of its processes is really stopped, or waits for a lock of somebody else's. What became of the
batch is unknown then, and said to be; in the end it is in the ledger once.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    Ledger,
    LedgerUnavailable,
    MemoryRecorder,
    track_call,
)
from agentmetrics.budget.ledger import database, place, writer
from agentmetrics.budget.ledger.database import Database
from tests.services.driven import SECONDS, in_ledger
from tests.services.postgres import PostgresServer
from tests.services.webserver import wait_for

LOST = "agentmetrics_ledger_calls_lost_total"
TABLE = "agentmetrics_ledger"

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is waited for is waited for a tenth as long."""
    monkeypatch.setattr(Database, "write_seconds", 1.5)
    monkeypatch.setattr(Database, "read_seconds", 1.5)
    monkeypatch.setattr(database, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(writer, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(writer, "TURN_SECONDS", 1.0)
    monkeypatch.setattr(writer, "CLOSING_SECONDS", 1.0)


def call(recorder: MemoryRecorder, many: int = 1) -> None:
    for _ in range(many):
        with track_call("openai", "gpt-4o-mini", agent_name="driven", recorder=recorder) as made:
            made.record_usage(1000, 1000)


@pytest.fixture(params=["frozen", "locked"])
def how(request: pytest.FixtureRequest) -> str:
    """What is the matter with the server's process."""
    name: str = request.param
    return name


class Program:
    """A ledger whose write of a batch gets no answer."""

    def __init__(self, server: PostgresServer, spool: Path, how: str) -> None:
        self.url, self.spool, self._server, self._how = server.new_database(), spool, server, how
        self.recorder = MemoryRecorder()
        self.ledger = Ledger(self.url, spool_dir=spool, flush_interval_seconds=0.1)
        self.ledger.attach(self.recorder)

    @contextmanager
    def without_answer(self) -> Iterator[None]:
        with self._server.stuck(self.url, TABLE, lambda: call(self.recorder)) as process:
            if self._how == "frozen":
                os.kill(process, signal.SIGSTOP)
            yield

    def lost(self) -> float:
        return self.recorder.value(LOST)

    def failed_writes(self) -> float:
        return self.recorder.value("agentmetrics_ledger_writes_total", status="error")


@pytest.fixture
def program(postgres_server: PostgresServer, tmp_path: Path, how: str) -> Iterator[Program]:
    made = Program(postgres_server, tmp_path / "spool", how)
    call(made.recorder, 10)
    made.ledger.flush()
    yield made
    made.ledger.close()


def test_a_server_that_does_not_answer_is_away_and_a_blocking_budget_refuses(
    program: Program,
) -> None:
    budget = Budget("all", limit_usd=100.0, period="daily", action="block")
    budgets = Budgets([budget], program.recorder, ledger=program.ledger, on_ledger_error="block")
    budgets.load()
    call(program.recorder)
    with program.without_answer():
        wait_for(lambda: program.ledger.failure is not None, SECONDS)
        with pytest.raises(BudgetExceeded, match="ledger"):
            call(program.recorder)
    wait_for(lambda: program.ledger.failure is None, SECONDS)
    call(program.recorder)
    budgets.close()
    program.ledger.close()
    assert in_ledger(program.url, program.spool) == 13
    assert program.lost() == 0


def test_a_write_that_gets_no_answer_ends_while_the_server_is_still_silent(
    program: Program,
) -> None:
    before = program.failed_writes()
    with program.without_answer():
        wait_for(lambda: program.failed_writes() > before, SECONDS)
    program.ledger.close()
    assert in_ledger(program.url, program.spool) == 11


def test_a_flush_to_a_server_that_does_not_answer_raises(program: Program) -> None:
    with program.without_answer():
        call(program.recorder, 5)
        with pytest.raises(LedgerUnavailable):
            program.ledger.flush()
    wait_for(lambda: program.ledger.failure is None, SECONDS)
    program.ledger.flush()
    assert in_ledger(program.url, program.spool) == 16
    assert program.lost() == 0


def test_a_fork_while_a_server_does_not_answer_leaves_both_with_a_ledger(program: Program) -> None:
    with program.without_answer():
        child = os.fork()
        if not child:
            with suppress(BaseException):
                call(program.recorder, 3)
                program.ledger.close()
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    wait_for(lambda: program.ledger.failure is None, SECONDS)
    program.ledger.close()
    assert in_ledger(program.url, program.spool) == 14


def test_a_close_says_what_is_unknown_and_the_next_ledger_has_everything_once(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    with program.without_answer(), caplog.at_level(logging.WARNING):
        call(program.recorder, 5)
        program.ledger.close()
        assert program.lost() == 0
    assert "6 calls are kept in" in caplog.text
    assert "whether 1 of them are written already" in caplog.text
    assert in_ledger(program.url, program.spool) == 16


def test_a_close_without_a_spool_tells_what_is_lost_from_what_is_unknown(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(place, "HAS_LOCKS", False)
    program = Program(postgres_server, tmp_path / "spool", how)
    with program.without_answer():
        wait_for(lambda: program.failed_writes() > 0, SECONDS)
        call(program.recorder, 5)  # of which the ledger's thread has not heard yet
        program.ledger.close()
    assert program.recorder.value(LOST, reason="unanswered") == 1
    assert program.recorder.value(LOST, reason="database_away") == 5
