"""Engines on a real PostgreSQL: what is recorded is what the server has counted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import anyio
import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from agentmetrics import MemoryRecorder
from agentmetrics_sqlalchemy import instrument_engine
from tests.services.process import free_port

WORKERS = 6
ROUNDS = 20
WORK = {
    "insert": "INSERT INTO things VALUES (:key, :worker)",
    "select": "SELECT count(*) FROM things WHERE worker = :worker AND key <= :key",
    "update": "UPDATE things SET worker = worker WHERE worker = :worker AND key = :key",
    "delete": "DELETE FROM things WHERE worker = :worker AND key = :key - 10",
}


class Database:
    """A database, and what its server says of it on a connection of the test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._own = psycopg.connect(url, autocommit=True)
        self._own.execute("CREATE EXTENSION pg_stat_statements")
        self._own.execute("CREATE TABLE things (key int, worker int, UNIQUE (key, worker))")

    def driven_by(self, driver: str) -> str:
        return self.url.replace("postgresql://", f"postgresql+{driver}://")

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self._own.execute(statement.encode()).fetchall()

    def executed(self) -> Counter[str]:
        """How many statements about things have ended well, by their first word."""
        calls: Counter[str] = Counter()
        for query, count in self.ask(
            "SELECT query, calls FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
            " WHERE datname = current_database() AND query ~ '(INTO|FROM|UPDATE) things'"
        ):
            calls[query.split()[0].lower()] += count
        return calls

    def backends(self) -> int:
        """How many others are connected."""
        return int(
            self.ask(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )[0][0]
        )

    def running(self, statement: str) -> list[int]:
        """The backends that run a statement like this now."""
        found = self.ask(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            f" AND state = 'active' AND query LIKE '{statement}%' AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in found]

    def kill(self, *pids: int) -> None:
        for pid in pids:
            self.ask(f"SELECT pg_terminate_backend({pid})")

    def close(self) -> None:
        self._own.close()


@pytest.fixture
def database(postgres: Callable[[], str]) -> Iterator[Database]:
    database = Database(postgres())
    yield database
    database.close()


@pytest.fixture
def engine(database: Database, recorder: MemoryRecorder) -> Iterator[Engine]:
    """Three connections at most, for more workers than that."""
    engine = create_engine(database.driven_by("psycopg"), pool_size=2, max_overflow=1)
    instrument_engine(engine, recorder=recorder, pool="main", slow_seconds=0.1)
    yield engine
    engine.dispose()


@pytest.fixture(params=["asyncpg", "psycopg"])
async def async_engine(
    request: pytest.FixtureRequest, database: Database, recorder: MemoryRecorder
) -> AsyncIterator[AsyncEngine]:
    """The same for tasks."""
    engine = create_async_engine(database.driven_by(request.param), pool_size=2, max_overflow=1)
    instrument_engine(engine, recorder=recorder, pool="main", slow_seconds=0.1)
    yield engine
    await engine.dispose()


def by_operation(recorder: MemoryRecorder, name: str) -> Counter[str]:
    series = recorder.snapshot()[name]["series"]
    return Counter({one["labels"]["operation"]: int(one["value"]) for one in series})


def connections(recorder: MemoryRecorder) -> tuple[float, float]:
    """How many are active, and how many idle."""
    return recorder.value("db_connections_active"), recorder.value("db_connections_idle")


def assert_counted_as_by_the_server(recorder: MemoryRecorder, database: Database) -> None:
    queries = by_operation(recorder, "db_queries_total")
    errors = by_operation(recorder, "db_errors_total")
    assert +errors == {"insert": WORKERS * ROUNDS}
    assert queries - errors == database.executed()
    assert queries["insert"] == 2 * WORKERS * ROUNDS
    assert recorder.histogram("db_query_duration_seconds").count == queries.total()
    wait = recorder.histogram("db_checkout_wait_seconds", pool="main")
    assert wait.count == WORKERS * ROUNDS * 2
    active, idle = connections(recorder)
    assert (active, idle) == (0, database.backends())


class TestUnderLoad:
    def test_threads_are_counted_as_by_the_server(
        self, engine: Engine, recorder: MemoryRecorder, database: Database
    ) -> None:
        def work(worker: int) -> None:
            for key in range(ROUNDS):
                values = {"worker": worker, "key": key}
                with engine.begin() as connection:
                    for statement in WORK.values():
                        connection.execute(text(statement), values)
                with engine.connect() as connection, pytest.raises(exc.IntegrityError):
                    connection.execute(text(WORK["insert"]), values)

        with ThreadPoolExecutor(WORKERS) as threads:
            list(threads.map(work, range(WORKERS)))

        assert_counted_as_by_the_server(recorder, database)

    @pytest.mark.asyncio_alone
    @pytest.mark.anyio
    async def test_tasks_are_counted_as_by_the_server(
        self, async_engine: AsyncEngine, recorder: MemoryRecorder, database: Database
    ) -> None:
        async def work(worker: int) -> None:
            for key in range(ROUNDS):
                values = {"worker": worker, "key": key}
                async with async_engine.begin() as connection:
                    for statement in WORK.values():
                        await connection.execute(text(statement), values)
                async with async_engine.connect() as connection:
                    with pytest.raises(exc.IntegrityError):
                        await connection.execute(text(WORK["insert"]), values)

        await asyncio.gather(*map(work, range(WORKERS)))

        assert_counted_as_by_the_server(recorder, database)

    def test_without_a_pool_connections_are_those_that_the_server_has(
        self, recorder: MemoryRecorder, database: Database
    ) -> None:
        engine = create_engine(database.driven_by("psycopg"), poolclass=NullPool)
        instrument_engine(engine, recorder=recorder)
        with ExitStack() as stack:
            for count in range(1, 5):
                stack.enter_context(engine.connect())
                assert connections(recorder) == (count, 0)
                assert database.backends() == count
        assert connections(recorder) == (0, 0)


class TestWhatGoesWrong:
    def test_a_query_whose_backend_is_killed_is_an_error_and_its_connection_is_gone(
        self, engine: Engine, recorder: MemoryRecorder, database: Database
    ) -> None:
        with engine.connect(), engine.connect():  # of which one is idle when the other is killed
            pass

        def sleep() -> None:
            with engine.connect() as connection, pytest.raises(exc.OperationalError):
                connection.execute(text("SELECT pg_sleep(30)"))

        with ThreadPoolExecutor(1) as thread:
            asleep = thread.submit(sleep)
            while not (pids := database.running("SELECT pg_sleep")):
                pass
            assert connections(recorder) == (1, 1)
            database.kill(*pids)
            asleep.result()

        assert by_operation(recorder, "db_errors_total") == {"select": 1, "connect": 0}
        assert recorder.value("db_slow_queries_total") <= 1
        active, idle = connections(recorder)
        assert active == 0
        with engine.connect() as connection:  # which replaces those of before the disconnect
            connection.execute(text("SELECT 1"))
            assert connections(recorder) == (1, database.backends() - 1)
        assert by_operation(recorder, "db_errors_total").total() == 1
        assert recorder.value("agentmetrics_handler_errors_total") == 0
        assert idle <= 1

    def test_a_connection_that_was_killed_in_the_pool_fails_the_next_query(
        self, engine: Engine, recorder: MemoryRecorder, database: Database
    ) -> None:
        with engine.connect() as connection:
            (pid,) = connection.execute(text("SELECT pg_backend_pid()")).one()
        database.kill(pid)
        while database.backends():
            pass
        with engine.connect() as connection, pytest.raises(exc.OperationalError):
            connection.execute(text("UPDATE things SET worker = 1"))

        assert by_operation(recorder, "db_errors_total") == {"update": 1, "select": 0, "connect": 0}
        assert connections(recorder) == (0, 0)
        assert database.backends() == 0

    def test_a_ping_before_the_checkout_that_fails_is_no_error_of_a_query(
        self, recorder: MemoryRecorder, database: Database
    ) -> None:
        engine = create_engine(database.driven_by("psycopg"), pool_pre_ping=True)
        instrument_engine(engine, recorder=recorder)
        with engine.connect() as connection:
            (pid,) = connection.execute(text("SELECT pg_backend_pid()")).one()
        database.kill(pid)
        while database.backends():
            pass
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            assert connections(recorder) == (1, 0)

        assert by_operation(recorder, "db_queries_total") == {"select": 2, "connect": 0}
        assert by_operation(recorder, "db_errors_total").total() == 0
        engine.dispose()

    def test_a_statement_that_the_server_gives_up_is_an_error_with_its_duration(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        with engine.connect() as connection:
            connection.execute(text("SET statement_timeout = 150"))
            with pytest.raises(exc.OperationalError):
                connection.execute(text("SELECT pg_sleep(30)"))

        assert recorder.value("db_errors_total", operation="select") == 1
        assert recorder.value("db_slow_queries_total", operation="select") == 1
        assert 0.15 <= recorder.histogram("db_query_duration_seconds", operation="select").sum < 20

    def test_a_query_that_is_interrupted_has_ended_and_is_no_error(
        self, engine: Engine, recorder: MemoryRecorder, database: Database
    ) -> None:
        def interrupt() -> None:
            while not database.running("SELECT pg_sleep"):
                pass
            os.kill(os.getpid(), signal.SIGINT)

        with ThreadPoolExecutor(1) as thread, engine.connect() as connection:
            interrupting = thread.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                connection.execute(text("SELECT pg_sleep(30)"))
            interrupting.result()

        assert by_operation(recorder, "db_queries_total") == {"select": 1, "connect": 0}
        assert recorder.value("db_errors_total") == 0
        assert connections(recorder) == (0, 0)

    def test_a_server_that_is_away_is_an_error_of_connecting(
        self, recorder: MemoryRecorder
    ) -> None:
        engine = create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/x")
        instrument_engine(engine, recorder=recorder, pool="main")
        for _ in range(3):
            with pytest.raises(exc.OperationalError):
                engine.connect()

        assert by_operation(recorder, "db_errors_total") == {"connect": 3}
        assert by_operation(recorder, "db_queries_total") == {"connect": 3}
        assert recorder.histogram("db_checkout_wait_seconds").count == 3
        assert connections(recorder) == (0, 0)

    def test_a_connection_that_cannot_be_had_again_is_counted_once(
        self, recorder: MemoryRecorder, database: Database
    ) -> None:
        engine = create_engine(database.driven_by("psycopg"))
        instrument_engine(engine, recorder=recorder)
        with engine.connect() as connection:
            connection.invalidate()
            event.listen(engine, "do_connect", _refuse)
            for statement in ("SELECT 1", "SELECT 2"):
                with pytest.raises(exc.DBAPIError):
                    connection.execute(text(statement))

        assert by_operation(recorder, "db_errors_total") == {"connect": 2}
        assert connections(recorder) == (0, 0)


def _refuse(*_: object) -> None:
    raise psycopg.OperationalError("refused")


class TestLongResults:
    def test_of_a_server_side_cursor_the_duration_ends_before_the_rows(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        statement = text("SELECT n, pg_sleep(0.02) FROM generate_series(1, 10) n")
        with engine.connect().execution_options(stream_results=True, max_row_buffer=1) as streamed:
            rows = streamed.execute(statement)
            assert recorder.value("db_queries_total", operation="select") == 1
            assert len(rows.all()) == 10
        assert recorder.histogram("db_query_duration_seconds").sum < 0.2
        with engine.connect() as connection:
            connection.execute(statement).all()
        assert recorder.histogram("db_query_duration_seconds").sum >= 0.2


@pytest.mark.asyncio_alone
@pytest.mark.anyio
class TestCancellation:
    async def asleep(self, engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))

    async def test_a_query_that_is_cancelled_is_finished_and_no_error(
        self, async_engine: AsyncEngine, recorder: MemoryRecorder, database: Database
    ) -> None:
        task = asyncio.create_task(self.asleep(async_engine))
        while not database.running("SELECT pg_sleep"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert by_operation(recorder, "db_queries_total") == {"select": 1, "connect": 0}
        assert by_operation(recorder, "db_errors_total").total() == 0
        assert recorder.histogram("db_query_duration_seconds", operation="select").count == 1
        assert recorder.value("db_connections_active") == 0
        while database.backends() != recorder.value("db_connections_idle"):
            await asyncio.sleep(0.01)

    async def test_so_is_one_whose_time_is_over(
        self, async_engine: AsyncEngine, recorder: MemoryRecorder
    ) -> None:
        async with async_engine.connect() as connection:
            with anyio.move_on_after(0.15) as scope:
                await connection.execute(text("SELECT pg_sleep(30)"))

        assert scope.cancelled_caught
        assert by_operation(recorder, "db_queries_total") == {"select": 1, "connect": 0}
        assert recorder.value("db_errors_total") == 0
        assert recorder.value("db_slow_queries_total", operation="select") == 1
        assert recorder.value("db_connections_active") == 0

    async def test_who_is_cancelled_while_it_waits_has_waited(
        self, async_engine: AsyncEngine, recorder: MemoryRecorder
    ) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(async_engine.connect())
            with anyio.move_on_after(0.05):
                await async_engine.connect()
            assert recorder.value("db_connections_active") == 3
        wait = recorder.histogram("db_checkout_wait_seconds")

        assert wait.count == 4
        assert wait.sum >= 0.05
        assert recorder.value("db_errors_total") == 0
        assert connections(recorder) == (0, 2)

    async def test_who_waits_for_too_long_is_an_error(
        self, database: Database, recorder: MemoryRecorder
    ) -> None:
        engine = create_async_engine(
            database.driven_by("asyncpg"), pool_size=1, max_overflow=0, pool_timeout=0.05
        )
        instrument_engine(engine, recorder=recorder)
        async with engine.connect() as held:
            assert isinstance(held, AsyncConnection)
            with pytest.raises(exc.TimeoutError):
                await engine.connect()
        await engine.dispose()

        assert by_operation(recorder, "db_errors_total") == {"connect": 1}
        assert recorder.histogram("db_checkout_wait_seconds").count == 2

    async def test_many_that_are_cancelled_at_any_moment_leave_nothing_active(
        self, async_engine: AsyncEngine, recorder: MemoryRecorder, database: Database
    ) -> None:
        async def work(number: int) -> None:
            with anyio.move_on_after(number / 500):
                async with async_engine.begin() as connection:
                    await connection.execute(text("SELECT pg_sleep(0.02)"))

        # asyncpg complains to the loop of connections that are given up while they are opened.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await asyncio.gather(*map(work, range(40)))

        assert recorder.value("db_connections_active") == 0
        assert recorder.value("db_errors_total") == 0
        assert recorder.value("agentmetrics_handler_errors_total") == 0
        while database.backends() != recorder.value("db_connections_idle"):
            await asyncio.sleep(0.01)
