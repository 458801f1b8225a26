"""What an instrumented engine records of its queries, on SQLite."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import AsyncAdaptedQueuePool

from agentmetrics import (
    ConfigurationError,
    Ledger,
    MemoryRecorder,
    Recorder,
    configure,
    track_call,
)
from agentmetrics_sqlalchemy import InstrumentedEngine, instrument_engine

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, unique=True),
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database with a table, and nothing recorded of how it came there."""
    engine = create_engine(f"sqlite:///{tmp_path / 'things.db'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def instrumented(engine: Engine, recorder: MemoryRecorder) -> InstrumentedEngine:
    return instrument_engine(engine, recorder=recorder)


def counted(recorder: Recorder, name: str = "db_queries_total") -> dict[str, float]:
    """A counter by operation, of those that are not 0."""
    series = recorder.snapshot().get(name, {"series": []})["series"]
    return {one["labels"]["operation"]: one["value"] for one in series if one["value"]}


@pytest.mark.usefixtures("instrumented")
class TestQueries:
    def test_queries_count_by_operation(self, engine: Engine, recorder: MemoryRecorder) -> None:
        with engine.begin() as connection:
            connection.execute(things.insert().values(name="a"))
            connection.execute(things.update().values(name="b"))
            connection.execute(select(things))
            connection.execute(text("select 1"))
            connection.exec_driver_sql("/* report */ WITH a AS (SELECT 1) SELECT * FROM a")
            connection.execute(things.delete())
            connection.execute(text("pragma user_version"))

        assert counted(recorder) == {"insert": 1, "update": 1, "select": 3, "delete": 1, "other": 1}
        for operation, count in counted(recorder).items():
            duration = recorder.histogram("db_query_duration_seconds", operation=operation)
            assert duration.count == count
            assert 0 < duration.sum < 5

    def test_schema_changes_and_savepoints_have_operations_of_their_own(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        metadata.drop_all(engine, checkfirst=False)
        metadata.create_all(engine, checkfirst=False)
        with engine.begin() as connection, connection.begin_nested():
            connection.execute(select(things))

        assert counted(recorder) == {"ddl": 2, "transaction": 2, "select": 1}

    def test_a_session_is_recorded_as_its_engine_is(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        with Session(engine) as session:
            session.execute(insert(things), [{"name": "a"}])
            session.scalars(select(things.c.name)).all()
            session.commit()

        assert counted(recorder) == {"insert": 1, "select": 1}

    def test_many_rows_given_to_one_statement_are_one_query(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        with engine.begin() as connection:
            connection.execute(things.insert(), [{"name": str(n)} for n in range(500)])

        assert counted(recorder) == {"insert": 1}

    def test_rows_that_are_inserted_in_batches_are_one_query_a_batch(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        statement = things.insert().returning(things.c.id)
        rows = [{"name": str(n)} for n in range(25)]
        with engine.begin() as connection:
            connection.execution_options(insertmanyvalues_page_size=10)
            assert len(connection.execute(statement, rows).all()) == 25

        assert counted(recorder) == {"insert": 3}
        assert recorder.histogram("db_query_duration_seconds").count == 3

    def test_a_query_inside_of_the_events_of_another_counts_by_itself(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        def look(connection: object, cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT"):
                connection.exec_driver_sql("SELECT 1")  # type: ignore[attr-defined]

        event.listen(engine, "before_cursor_execute", look)
        event.listen(engine, "after_cursor_execute", look)
        with engine.begin() as connection:
            connection.execute(things.insert().values(name="a"))

        assert counted(recorder) == {"insert": 1, "select": 2}

    def test_a_statement_that_another_listener_rewrites_counts_as_what_is_sent(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        @event.listens_for(engine, "before_cursor_execute", retval=True)
        def explain(c: object, cursor: object, statement: str, parameters: object, *_: object):
            return f"EXPLAIN {statement}", parameters

        with engine.connect() as connection:
            connection.execute(select(things))

        assert counted(recorder) == {"other": 1}

    def test_a_statement_that_another_listener_executes_is_not_seen(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        @event.listens_for(engine, "do_execute")
        def execute(cursor: Any, statement: str, parameters: Any, context: object) -> bool:
            cursor.execute(statement, parameters)
            return True

        with engine.connect() as connection:
            connection.execute(select(things))

        assert counted(recorder) == {}

    def test_engines_with_other_options_are_recorded_with_the_one_they_are_made_from(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        for each in (engine, engine.execution_options(isolation_level="AUTOCOMMIT")):
            with each.connect() as connection:
                connection.execute(select(things))

        assert counted(recorder) == {"select": 2}
        assert recorder.histogram("db_checkout_wait_seconds").count == 2

    def test_threads_do_not_meet(self, engine: Engine, recorder: MemoryRecorder) -> None:
        def work(_: int) -> None:
            for _ in range(25):
                with engine.connect() as connection:
                    connection.execute(select(things))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))

        assert counted(recorder) == {"select": 200}
        assert recorder.histogram("db_query_duration_seconds").count == 200
        assert recorder.histogram("db_checkout_wait_seconds").count == 200
        assert recorder.value("db_connections_active") == 0

    def test_neither_statements_nor_parameters_are_kept(
        self, engine: Engine, recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, logger="agentmetrics")
        with engine.connect() as connection:
            connection.execute(text("select 's3cret', :value"), {"value": "hidden"})
            with pytest.raises(OperationalError):
                connection.execute(text("s3cret from hidden"))

        said = f"{recorder.snapshot()}{caplog.text}"
        assert "s3cret" not in said
        assert "hidden" not in said


@pytest.mark.usefixtures("instrumented")
class TestErrors:
    def test_a_query_that_fails_counts_as_one_and_as_an_error(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        with engine.connect() as connection:
            connection.execute(things.insert().values(name="a"))
            with pytest.raises(IntegrityError):
                connection.execute(things.insert().values(name="a"))
            with pytest.raises(OperationalError):
                connection.execute(text("select nothing"))

        assert counted(recorder) == {"insert": 2, "select": 1}
        assert counted(recorder, "db_errors_total") == {"insert": 1, "select": 1}
        assert recorder.histogram("db_query_duration_seconds").count == 3

    def test_errors_show_0_before_the_first(self, engine: Engine, recorder: MemoryRecorder) -> None:
        with engine.connect() as connection:
            connection.execute(select(things))

        named = {
            (sample.name, sample.labels["operation"]): sample.value
            for sample in recorder.samples()
            if sample.name in ("db_errors_total", "db_slow_queries_total")
        }
        assert named == {
            ("db_errors_total", "connect"): 0,
            ("db_errors_total", "select"): 0,
            ("db_slow_queries_total", "select"): 0,
        }

    def test_a_statement_that_could_not_be_prepared_was_no_query(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        with engine.connect() as connection, pytest.raises(StatementError):
            connection.execute(text("select :missing"))

        assert counted(recorder) == {}
        assert counted(recorder, "db_errors_total") == {}

    def test_rows_that_cannot_be_fetched_make_the_query_an_error_once(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        # SQLite computes a row when it is fetched.
        statement = text("select abs(n) from (select 1 as n union all select -9223372036854775808)")
        with engine.connect() as connection, pytest.raises(OperationalError):
            connection.execute(statement).fetchall()

        assert counted(recorder) == {"select": 1}
        assert counted(recorder, "db_errors_total") == {"select": 1}
        assert recorder.histogram("db_query_duration_seconds").count == 1

    def test_a_transaction_that_cannot_be_ended_is_an_error(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        for_later = "owner INTEGER REFERENCES things DEFERRABLE INITIALLY DEFERRED"
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.exec_driver_sql(f"CREATE TABLE owned ({for_later})")
            connection.exec_driver_sql("INSERT INTO owned VALUES (7)")
            with pytest.raises(IntegrityError):
                connection.commit()

        assert counted(recorder, "db_errors_total") == {"transaction": 1}
        assert counted(recorder)["transaction"] == 1

    def test_a_recorder_that_fails_does_not_fail_the_query(
        self, engine: Engine, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr("agentmetrics_sqlalchemy.queries.operation_of", fail)
        with engine.connect() as connection:
            connection.execute(select(things))
            with pytest.raises(OperationalError):
                connection.execute(text("nothing"))

        assert recorder.value("agentmetrics_handler_errors_total", event="db_query") == 2


class TestSlowQueries:
    SLOW = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) "
        "select count(*) from n"
    )

    def test_a_query_above_the_threshold_is_slow(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        instrument_engine(engine, recorder=recorder, slow_seconds=0.001)
        with engine.connect() as connection:
            connection.exec_driver_sql(self.SLOW).fetchall()

        assert counted(recorder, "db_slow_queries_total") == {"select": 1}

    def test_a_query_below_it_is_not(self, engine: Engine, recorder: MemoryRecorder) -> None:
        instrument_engine(engine, recorder=recorder, slow_seconds=30)
        with engine.connect() as connection:
            connection.exec_driver_sql(self.SLOW).fetchall()

        assert counted(recorder, "db_slow_queries_total") == {}

    def test_the_environment_has_the_threshold_of_engines_without_one(
        self, engine: Engine, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert instrument_engine(engine, recorder=recorder).slow_seconds == 1.0
        monkeypatch.setenv("AGENTMETRICS_SQLALCHEMY_SLOW_SECONDS", "0.25")
        other = create_engine("sqlite://")
        assert instrument_engine(other, recorder=recorder).slow_seconds == 0.25

    @pytest.mark.parametrize("value", ["soon", "0", "-1", "nan"])
    def test_a_threshold_that_is_none_is_refused_with_what_to_type(
        self, engine: Engine, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AGENTMETRICS_SQLALCHEMY_SLOW_SECONDS", value)
        with pytest.raises(
            ConfigurationError,
            match=f"AGENTMETRICS_SQLALCHEMY_SLOW_SECONDS='{value}' must be a number of seconds "
            "above 0: AGENTMETRICS_SQLALCHEMY_SLOW_SECONDS=0.5",
        ):
            instrument_engine(engine)

    @pytest.mark.parametrize("value", ["1", 0, -1.0, float("nan")])
    def test_so_is_an_argument_that_is_none(self, engine: Engine, value: object) -> None:
        with pytest.raises(ConfigurationError, match="must be a number of seconds above 0"):
            instrument_engine(engine, slow_seconds=value)  # type: ignore[arg-type]


class TestInstrumenting:
    def test_an_engine_that_is_instrumented_twice_counts_once(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        first = instrument_engine(engine, recorder=recorder)
        second = instrument_engine(engine.execution_options(x=1), recorder=recorder)
        with engine.connect() as connection:
            connection.execute(select(things))

        assert first is second
        assert counted(recorder) == {"select": 1}
        assert recorder.histogram("db_checkout_wait_seconds").count == 1

    def test_with_other_arguments_it_is_refused(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        instrument_engine(engine, recorder=recorder, pool="main")
        with pytest.raises(ConfigurationError, match=r"instrumented already, with pool='main' and"):
            instrument_engine(engine, recorder=recorder, pool="replica")

    def test_what_is_no_engine_is_refused(self, engine: Engine) -> None:
        with pytest.raises(
            ConfigurationError, match=r"takes an Engine or an AsyncEngine, not Session: pass what"
        ):
            instrument_engine(Session(engine))  # type: ignore[arg-type]

    def test_removed_it_is_as_it_was_and_can_be_instrumented_again(
        self, engine: Engine, recorder: MemoryRecorder
    ) -> None:
        engine.dispose()
        before = dict(vars(engine.pool))
        instrumented = instrument_engine(engine, recorder=recorder, pool="main")
        engine.dispose()
        instrumented.remove()
        instrumented.remove()
        with engine.connect() as connection:
            connection.execute(select(things))

        assert vars(engine.pool).keys() == before.keys()
        assert counted(recorder) == {}
        assert "db_connections_active" not in recorder.snapshot()

        instrument_engine(engine, recorder=recorder, pool="again")
        with engine.connect() as connection:
            connection.execute(select(things))
            assert recorder.value("db_connections_active", pool="again") == 1
        assert counted(recorder) == {"select": 1}

    def test_what_was_put_around_it_since_goes_on_and_records_nothing(
        self, engine: Engine, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instrumented = instrument_engine(engine, recorder=recorder)
        execute, connect = engine.dialect.do_execute, engine.pool.connect
        seen: list[str] = []

        def around(cursor: Any, statement: str, *rest: Any) -> None:
            seen.append(statement)
            execute(cursor, statement, *rest)

        monkeypatch.setattr(engine.dialect, "do_execute", around)
        monkeypatch.setattr(engine.pool, "connect", lambda: connect())
        instrumented.remove()
        with engine.connect() as connection:
            connection.execute(text("select 1"))

        assert seen == ["select 1"]
        assert counted(recorder) == {}
        assert recorder.histogram("db_checkout_wait_seconds").count == 0

    def test_an_engine_that_nobody_has_any_more_is_gone_with_its_gauges(
        self, recorder: MemoryRecorder
    ) -> None:
        engine = create_engine("sqlite://")
        kept = instrument_engine(engine, recorder=recorder)
        with engine.connect() as connection:
            connection.exec_driver_sql("select 1")
        assert recorder.value("db_connections_idle") == 1
        del engine, connection
        gc.collect()

        assert "db_connections_idle" not in recorder.snapshot()
        assert counted(recorder) == {"select": 1}
        kept.remove()

    def test_without_a_recorder_it_follows_the_configured_one(
        self, engine: Engine, agent_metrics: MemoryRecorder
    ) -> None:
        instrument_engine(engine)
        with engine.connect() as connection:
            connection.execute(select(things))
        assert counted(agent_metrics) == {"select": 1}

        later = configure(MemoryRecorder())
        with engine.connect() as connection:
            connection.execute(select(things))
            assert later.value("db_connections_active") == 1
        assert counted(later) == {"select": 1}
        assert counted(agent_metrics) == {"select": 1}
        assert "db_connections_active" not in agent_metrics.snapshot()

    def test_a_ledger_in_the_same_database_is_not_recorded(
        self, engine: Engine, agent_metrics: MemoryRecorder
    ) -> None:
        instrument_engine(engine)
        with Ledger(str(engine.url)) as ledger:
            ledger.attach(agent_metrics)
            with track_call("openai", "gpt-4o-mini") as call:
                call.record_usage(input_tokens=10, output_tokens=1)
            ledger.flush()
        with engine.connect() as connection:
            names: Any = connection.execute(
                select(literal_column("name")).select_from(text("sqlite_master"))
            )
            assert any("agentmetrics" in str(name) for name in names.scalars())

        assert counted(agent_metrics) == {"select": 1}
        assert agent_metrics.histogram("db_checkout_wait_seconds").count == 1


@pytest.mark.asyncio_alone
class TestAsyncEngines:
    @pytest.fixture
    def async_engine(self, tmp_path: Path) -> AsyncEngine:
        url = f"sqlite+aiosqlite:///{tmp_path / 'things.db'}"
        return create_async_engine(url, poolclass=AsyncAdaptedQueuePool)

    @pytest.mark.anyio
    async def test_an_async_engine_is_recorded_as_a_sync_one_is(
        self, async_engine: AsyncEngine, recorder: MemoryRecorder
    ) -> None:
        first = instrument_engine(async_engine, recorder=recorder)
        assert instrument_engine(async_engine.sync_engine, recorder=recorder) is first
        async with async_engine.begin() as connection:
            await connection.run_sync(metadata.create_all, checkfirst=False)
            await connection.execute(things.insert(), [{"name": "a"}, {"name": "b"}])
            async with connection.stream(select(things)) as rows:
                assert [row.name async for row in rows] == ["a", "b"]
            with pytest.raises(OperationalError):
                await connection.execute(text("select nothing"))
            assert recorder.value("db_connections_active") == 1
        assert recorder.value("db_connections_active") == 0
        assert recorder.value("db_connections_idle") == 1
        await async_engine.dispose()
        assert recorder.value("db_connections_idle") == 0

        assert counted(recorder) == {"ddl": 1, "insert": 1, "select": 2}
        assert counted(recorder, "db_errors_total") == {"select": 1}


def test_threads_that_instrument_at_once_count_once(
    engine: Engine, recorder: MemoryRecorder
) -> None:
    together = threading.Barrier(8)

    def instrument(_: int) -> InstrumentedEngine:
        together.wait()
        return instrument_engine(engine, recorder=recorder)

    with ThreadPoolExecutor(8) as threads:
        made = set(map(id, threads.map(instrument, range(8))))
    with engine.connect() as connection:
        connection.execute(select(things))

    assert len(made) == 1
    assert counted(recorder) == {"select": 1}
