"""A PostgreSQL server that is stopped, frozen, locked or migrated under a program.

No driver has a deadline for a server that is there and does not answer. One of its processes is
really stopped, or waits for a lock of somebody else's. What became of a batch is unknown then, and
said to be; in the end it is in the ledger once.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import psutil
import psycopg
import pytest

from agentmetrics import (
    Budget,
    BudgetExceeded,
    LedgerUnavailable,
)
from agentmetrics.budget.ledger import database, place, reservations, schema, writer
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.demand import Demand
from agentmetrics.budget.periods import Span
from tests.hostile import ROWS, times
from tests.hostile.conftest import Proves
from tests.hostile.served import LOST, TABLE, Program
from tests.services.driven import SECONDS, Drive, Driven, in_ledger
from tests.services.postgres import PostgresServer
from tests.services.webserver import wait_for

BLOCKING = Budget("all", limit_usd=1e6, period="daily", action="block")
RESERVING = Budget("all", 1e6, action="block", reserve="max_tokens", reserve_in="ledger")
CALLS = times(short=700, whole=20_000)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the short form, all that is waited for is waited for a tenth as long."""
    if not ROWS:
        monkeypatch.setattr(Database, "write_seconds", 1.5)
        monkeypatch.setattr(Database, "read_seconds", 1.5)
        monkeypatch.setattr(database, "SILENCE_SECONDS", 0.5)
        monkeypatch.setattr(writer, "SILENT_SECONDS", 0.5)
        monkeypatch.setattr(writer, "TURN_SECONDS", 1.0)
        monkeypatch.setattr(writer, "CLOSING_SECONDS", 1.0)


@pytest.fixture
def program(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Program]:
    made = Program(postgres_server, tmp_path / "spool")
    made.calls(10)
    made.ledger.flush()
    yield made
    made.ledger.close()


@pytest.mark.parametrize(
    "which", ["stopped", "paused", "frozen", "locked", "locked for readers"], ids=str
)
def test_a_server_in_trouble_holds_nobody_up_and_has_every_call_once_in_the_end(
    which: str, program: Program, proves: Proves
) -> None:
    with program.careful_with(BLOCKING):
        program.call(program.careful)
        with program.in_trouble(which):
            program.calls(CALLS)
            began = perf_counter()
            with pytest.raises(LedgerUnavailable):
                program.ledger.flush()
            flushed = perf_counter() - began
            wait_for(lambda: not program.is_back(), SECONDS)
            with pytest.raises(BudgetExceeded, match="ledger"):
                program.call(program.careful)
            began = perf_counter()
            child = os.fork()
            if not child:
                # Not of faulthandler, of which pytest has one: in a child it waits for that.
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(int(SECONDS))
                with suppress(BaseException):
                    program.calls(3)
                    program.ledger.close()
                    os._exit(0)
                os._exit(1)
            program.made += 3
            assert os.waitpid(child, 0)[1] == 0
            closed = perf_counter() - began
            program.calls(CALLS)
        wait_for(program.is_back, SECONDS)
        program.call(program.careful)
    program.ledger.close()
    assert in_ledger(program.url, program.spool) == program.made
    assert program.lost() == 0
    proves(
        f"{program.made:,} calls, a flush, a fork, a blocking budget and the end of a child",
        f"0 hung, {program.made:,} of {program.made:,} calls in the ledger, once; the budget "
        f"refused, flush() raised after {flushed:.1f} s, the child ended after {closed:.1f} s, and "
        f"the slowest call took {1000 * program.slowest:.1f} ms",
    )


@pytest.mark.parametrize("which", ["frozen", "locked"])
def test_a_write_without_an_answer_ends_by_itself(
    which: str, program: Program, proves: Proves
) -> None:
    failed = program.failed_writes()
    began = perf_counter()
    with program.in_trouble(which):
        wait_for(lambda: program.failed_writes() > failed, SECONDS)
        took = perf_counter() - began
    program.ledger.close()
    assert in_ledger(program.url, program.spool) == program.made
    proves(
        f"1 write of {program.made} calls to a server that stays silent",
        f"given up after {took:.1f} s; {program.made} of {program.made} calls in the ledger, once",
    )


@pytest.mark.parametrize("which", ["frozen", "locked"])
def test_a_close_says_what_is_unknown_and_the_next_ledger_has_everything_once(
    which: str, program: Program, proves: Proves, caplog: pytest.LogCaptureFixture
) -> None:
    with program.in_trouble(which), caplog.at_level(logging.WARNING):
        program.calls(5)
        program.ledger.close()
        assert program.lost() == 0
    assert "6 calls are kept in" in caplog.text
    assert "whether 1 of them are written already" in caplog.text
    assert in_ledger(program.url, program.spool) == program.made
    proves(
        "1 close() with 6 calls left, 1 of which the server may have",
        f"0 lost, 1 said to be unknown; {program.made} of {program.made} in the ledger, once",
    )


def test_a_close_without_a_spool_tells_what_is_lost_from_what_is_unknown(
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    proves: Proves,
) -> None:
    monkeypatch.setattr(place, "HAS_LOCKS", False)
    program = Program(postgres_server, tmp_path / "spool")
    with program.in_trouble("frozen"):
        wait_for(lambda: program.failed_writes() > 0, SECONDS)
        program.calls(5)  # of which the ledger's thread has not heard yet
        program.ledger.close()
    assert program.recorder.value(LOST, reason="unanswered") == 1
    assert program.recorder.value(LOST, reason="database_away") == 5
    proves("1 close() with 6 calls left, in memory alone", "5 counted as lost, 1 as unanswered")


def connections_to(server: PostgresServer) -> list[object]:
    every = psutil.Process().net_connections("tcp")
    return [each for each in every if each.raddr and each.raddr.port == server.port]


def migrate(url: str) -> None:
    """What a version from the future does to the tables: it adds, and says so."""
    with psycopg.connect(url) as younger:
        for table in schema.METADATA.tables.values():
            younger.execute(f"ALTER TABLE {table.name} ADD COLUMN more TEXT NOT NULL DEFAULT ''")
        younger.execute(f"UPDATE {schema.VERSION.name} SET version = version + 1")


def test_an_older_program_goes_on_when_a_newer_one_has_migrated_and_the_server_was_away(
    program: Program, postgres_server: PostgresServer, proves: Proves
) -> None:
    with program.careful_with(RESERVING):
        migrate(program.url)
        with postgres_server.stopped():
            program.calls(CALLS)
            with pytest.raises(LedgerUnavailable):
                program.ledger.flush()
        program.ledger.flush()
        program.reserve()  # for the first time
    program.ledger.close()
    with psycopg.connect(program.url) as reader:
        written = reader.execute(f"SELECT sum(calls) FROM {TABLE}").fetchone()
    assert written == (program.made,)
    assert program.lost() == 0
    wait_for(lambda: connections_to(postgres_server) == [], SECONDS)
    proves(
        f"1 migration to a version from the future, a restart, and {program.made:,} calls",
        f"0 refused, {program.made:,} of {program.made:,} calls in the ledger, once",
    )


def test_locks_that_another_session_keeps_hold_up_no_start_and_no_call(
    postgres_server: PostgresServer, tmp_path: Path, proves: Proves
) -> None:
    url = postgres_server.new_database()
    lock, unlock = "SELECT pg_advisory_lock(%s)", "SELECT pg_advisory_unlock(%s)"
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(lock, [schema.MIGRATION_LOCK])
        program = Program(postgres_server, tmp_path / "spool", url)
        assert program.ledger.failure is not None
        program.calls(CALLS)
        other.execute(unlock, [schema.MIGRATION_LOCK])
        wait_for(program.is_back, SECONDS)
        with program.careful_with(RESERVING):
            program.reserve()
            own = Demand(RESERVING.calls(), RESERVING.period, Span(0, 0), 0).lock
            other.execute(lock, [own])
            for _ in range(2):
                with pytest.raises(BudgetExceeded, match="unreachable"):
                    program.reserve()
            program.calls(CALLS)
            other.execute(unlock, [own])
            wait_for(program.may_reserve, SECONDS)
    program.ledger.close()
    assert in_ledger(program.url, program.spool) == program.made
    proves(
        f"1 start while another session migrates without end, 2 calls while one reserves without "
        f"end, and {program.made:,} calls",
        f"0 hung, {program.made:,} of {program.made:,} calls in the ledger, once; the budget "
        "refused the 2 calls",
    )


# Connections


@pytest.fixture
def table(postgres_server: PostgresServer) -> Iterator[reservations.Reservations]:
    made = reservations.Reservations(postgres_server.new_database())
    made.release(["nothing"])
    yield made
    made.close()


def test_a_question_that_comes_late_leaves_no_connection_after_close(
    table: reservations.Reservations, postgres_server: PostgresServer
) -> None:
    assert len(connections_to(postgres_server)) == 1
    table.close()
    table.release(["nothing"])  # by a thread that nobody waits for any longer
    assert connections_to(postgres_server) == []


def test_a_question_that_is_open_at_close_leaves_no_connection(
    table: reservations.Reservations,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reservations, "ANSWER_SECONDS", 0.05)
    name = schema.RESERVATIONS.name

    def release() -> None:
        with suppress(LedgerUnavailable):
            table.release(["nothing"])

    asker = threading.Thread(target=release)
    url = postgres_server.url(str(table.url.database))
    with postgres_server.stuck(url, name, asker.start):
        table.close()
        assert asker.is_alive()
    asker.join(SECONDS)
    assert connections_to(postgres_server) == []


def test_a_budget_for_which_nothing_is_reserved_keeps_no_connection(
    program: Program, postgres_server: PostgresServer
) -> None:
    with program.careful_with(RESERVING):
        done = threading.Event()
        program.ledger.upkeep.add("after all that budgets do", done.set, 0.0)
        assert done.wait(SECONDS)
        wait_for(lambda: connections_to(postgres_server) == [], SECONDS)


def test_an_attempt_to_connect_that_takes_too_long_leaves_no_connection(
    postgres_server: PostgresServer,
) -> None:
    away = Database(postgres_server.url("postgres") + "?connect_timeout=2")
    gc.disable()  # which comes by rarely
    try:
        with postgres_server.paused():
            with pytest.raises(LedgerUnavailable, match="timeout"):
                away.prepare()
            assert connections_to(postgres_server) == []
    finally:
        gc.enable()


# A program of its own


@pytest.fixture
def start(drive: Drive, postgres_server: PostgresServer, tmp_path: Path) -> Callable[[], Driven]:
    """``start()`` starts one, with the same database and spool each time."""
    url = postgres_server.new_database()
    return lambda: drive(url, tmp_path / "spool")


def test_the_end_of_a_program_comes_while_its_server_is_paused(
    start: Callable[[], Driven], postgres_server: PostgresServer, proves: Proves
) -> None:
    program = start()
    program.calls(10)
    assert program.flush()
    with postgres_server.paused():
        program.calls(CALLS)
        program.process.send_signal(signal.SIGTERM)
        program.process.wait(SECONDS)
    made = CALLS + 10
    assert in_ledger(program.url, program.spool) == made
    proves(f"1 SIGTERM after {made:,} calls", f"0 hung, {made:,} of {made:,} in the ledger, once")


def test_a_server_that_was_away_while_programs_came_and_were_killed_has_all_of_them(
    start: Callable[[], Driven], postgres_server: PostgresServer, proves: Proves
) -> None:
    programs = times(short=2, whole=10)
    with postgres_server.stopped():
        for _ in range(programs):
            program = start()
            program.calls(CALLS)
            program.kill()
    last = start()
    last.calls(1)
    assert last.flush()
    assert last.lost() == {}
    last.end()
    made = programs * CALLS + 1
    assert in_ledger(last.url, last.spool) == made
    proves(
        f"{programs} programs with {CALLS:,} calls each, killed",
        f"0 lost, {made:,} of {made:,} in the ledger, once",
    )


def test_an_empty_database_in_the_place_of_the_old_one_has_what_comes_from_then_on(
    start: Callable[[], Driven], postgres_server: PostgresServer, proves: Proves
) -> None:
    program = start()
    name = program.url.rpartition("/")[2]
    program.calls(10)
    assert program.flush()
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        program.calls(20)
        admin.execute(f"CREATE DATABASE {name}")
    program.calls(30)
    program.kill()
    # The first ten were in the old one; what the spool still has of them is no loss, either.
    found = in_ledger(program.url, program.spool)
    assert 50 <= found <= 60
    proves("1 database dropped and made anew between 60 calls", f"{found} there, 10 written before")
