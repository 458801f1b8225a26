"""What an instrumented engine says of its connections, for every kind of pool."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, exc
from sqlalchemy.pool import (
    AssertionPool,
    NullPool,
    Pool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from agentmetrics import MemoryRecorder
from agentmetrics_sqlalchemy import instrument_engine


class Connections:
    """The connections of SQLite that are open, as the driver's side counts them."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0

    def follow(self, engine: Engine) -> None:
        event.listen(engine, "connect", self._connect)
        event.listen(engine, "close", self._close)
        event.listen(engine, "close_detached", self._close)

    def _connect(self, *_: object) -> None:
        self.opened += 1

    def _close(self, *_: object) -> None:
        self.closed += 1

    @property
    def open(self) -> int:
        return self.opened - self.closed


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture
def engine_of(tmp_path: Path, recorder: MemoryRecorder, connections: Connections) -> Iterator[Any]:
    """``engine_of(poolclass, …)`` is an instrumented engine on a file."""
    made: list[Engine] = []

    def make(poolclass: type[Pool], **options: Any) -> Engine:
        options.setdefault("connect_args", {"check_same_thread": False})
        engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", poolclass=poolclass, **options)
        connections.follow(engine)
        instrument_engine(engine, recorder=recorder, pool="main")
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def pool(recorder: MemoryRecorder) -> Any:
    """``pool()`` is what is recorded of the pool now: active, idle, most."""

    def read(name: str = "main") -> tuple[float, float, float]:
        active, idle, most = (
            recorder.value(f"db_connections_{which}", pool=name)
            for which in ("active", "idle", "max")
        )
        return active, idle, most

    return read


@contextmanager
def held(engine: Engine, count: int) -> Iterator[None]:
    """Several connections that are checked out at once."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(engine.connect()).exec_driver_sql("select 1")
        yield


class TestAPoolOfAQueue:
    def test_what_is_checked_out_is_active_and_what_came_back_is_idle(
        self, engine_of: Any, pool: Any, connections: Connections
    ) -> None:
        engine = engine_of(QueuePool, pool_size=2, max_overflow=1)
        assert pool() == (0, 0, 3)
        with held(engine, 2):
            assert pool() == (2, 0, 3)
        assert pool() == (0, 2, 3)
        with held(engine, 1):
            assert pool() == (1, 1, 3)
        assert connections.open == 2

    def test_overflow_is_closed_when_it_comes_back(
        self, engine_of: Any, pool: Any, connections: Connections
    ) -> None:
        engine = engine_of(QueuePool, pool_size=1, max_overflow=3)
        with held(engine, 4):
            assert pool() == (4, 0, 4)
        assert pool() == (0, 1, 4)
        assert connections.open == 1

    @pytest.mark.parametrize("options", [{"max_overflow": -1}, {"pool_size": 0}])
    def test_a_pool_without_a_limit_has_a_maximum_of_0(
        self, engine_of: Any, pool: Any, options: dict[str, int]
    ) -> None:
        engine = engine_of(QueuePool, **options)
        with held(engine, 7):
            assert pool() == (7, 0, 0)

    def test_a_timeout_of_the_pool_is_a_wait_and_an_error(
        self, engine_of: Any, recorder: MemoryRecorder
    ) -> None:
        engine = engine_of(QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05)
        with held(engine, 1), pytest.raises(exc.TimeoutError):
            engine.connect()

        wait = recorder.histogram("db_checkout_wait_seconds", pool="main")
        assert wait.count == 2
        assert 0.05 <= wait.sum < 5
        assert recorder.value("db_errors_total", operation="connect") == 1
        assert recorder.value("db_queries_total", operation="connect") == 1
        assert recorder.value("db_connections_active") == 0

    def test_who_waits_for_a_connection_is_seen_to_wait(
        self, engine_of: Any, recorder: MemoryRecorder
    ) -> None:
        engine = engine_of(QueuePool, pool_size=1, max_overflow=0)
        asks = threading.Event()

        def second() -> float:
            asks.set()
            began = time.perf_counter()
            with engine.connect():
                return time.perf_counter() - began

        with ThreadPoolExecutor(1) as thread:
            with held(engine, 1):
                before = recorder.histogram("db_checkout_wait_seconds").sum
                waited = thread.submit(second)
                asks.wait()
                time.sleep(0.05)
            seconds = waited.result()

        recorded = recorder.histogram("db_checkout_wait_seconds").sum - before
        assert 0 < recorded <= seconds
        assert recorded > 0.02
        assert recorder.value("db_errors_total") == 0

    def test_invalidated_connections_are_neither_active_nor_idle(
        self, engine_of: Any, pool: Any, connections: Connections
    ) -> None:
        engine = engine_of(QueuePool, pool_size=2, max_overflow=0)
        with held(engine, 1), engine.connect() as connection:
            connection.invalidate()
            assert pool() == (1, 0, 2)
        assert pool() == (0, 1, 2)
        assert connections.open == 1
        with held(engine, 2):
            assert pool() == (2, 0, 2)
        assert pool() == (0, 2, 2)

    def test_detached_connections_are_no_more_the_pools(
        self, engine_of: Any, pool: Any, connections: Connections
    ) -> None:
        engine = engine_of(QueuePool, pool_size=2, max_overflow=0)
        with engine.connect() as connection:
            connection.detach()
            assert pool() == (0, 0, 2)
            assert connections.open == 1
        assert pool() == (0, 0, 2)
        assert connections.open == 0

    def test_a_connection_that_is_forgotten_is_not_active_for_ever(
        self, engine_of: Any, pool: Any
    ) -> None:
        engine = engine_of(QueuePool, pool_size=2, max_overflow=0)
        connection = engine.raw_connection()
        assert pool() == (1, 0, 2)
        del connection
        assert pool() == (0, 1, 2)

    def test_a_disposed_engine_has_a_new_pool_which_is_recorded(
        self, engine_of: Any, pool: Any, recorder: MemoryRecorder
    ) -> None:
        engine = engine_of(QueuePool, pool_size=2, max_overflow=0)
        with held(engine, 2):
            pass
        engine.dispose()
        assert pool() == (0, 0, 2)
        with held(engine, 1):
            assert pool() == (1, 0, 2)
            engine.dispose()
            assert pool() == (1, 0, 2)  # still held, though nothing is in the new pool
        assert pool() == (0, 0, 2)
        assert recorder.histogram("db_checkout_wait_seconds").count == 3

    def test_a_pool_that_is_put_in_place_by_hand_is_recorded(
        self, engine_of: Any, pool: Any, recorder: MemoryRecorder
    ) -> None:
        engine = engine_of(QueuePool, pool_size=2, max_overflow=0)
        engine.pool = engine.pool.recreate()
        with held(engine, 1):
            assert pool() == (1, 0, 2)
        engine.pool = QueuePool(engine.pool._creator, pool_size=7, max_overflow=0)
        assert pool() == (0, 0, 7)
        with held(engine, 1):
            assert pool() == (1, 0, 7)
        assert recorder.histogram("db_checkout_wait_seconds").count == 2

    def test_connections_of_before_are_idle_connections_too(
        self, tmp_path: Path, recorder: MemoryRecorder, pool: Any
    ) -> None:
        engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", pool_size=3, max_overflow=0)
        with held(engine, 3):
            pass
        instrument_engine(engine, recorder=recorder, pool="main")
        assert pool() == (0, 3, 3)
        with held(engine, 1):
            assert pool() == (1, 2, 3)
        engine.dispose()

    def test_under_load_they_add_up_to_no_more_than_the_maximum(
        self, engine_of: Any, pool: Any, recorder: MemoryRecorder, connections: Connections
    ) -> None:
        engine = engine_of(QueuePool, pool_size=2, max_overflow=2)
        stop = threading.Event()

        def work(number: int) -> int:
            done = 0
            while not stop.is_set():
                with engine.connect() as connection:
                    connection.exec_driver_sql("select 1")
                    if number == 0:
                        connection.invalidate()
                done += 1
            return done

        with ThreadPoolExecutor(6) as threads:
            working = [threads.submit(work, number) for number in range(6)]
            seen = [pool() for _ in range(50)]
            stop.set()
            done = sum(each.result() for each in working)

        assert all(0 <= active <= 4 and 0 <= idle <= 2 for active, idle, _ in seen)
        assert any(active for active, _, _ in seen)
        active, idle, _ = pool()
        assert (active, idle) == (0, connections.open)
        assert recorder.histogram("db_checkout_wait_seconds").count == done


class TestOtherPools:
    def test_without_a_pool_what_is_in_use_is_active_and_nothing_is_idle(
        self, engine_of: Any, pool: Any, connections: Connections
    ) -> None:
        engine = engine_of(NullPool)
        with held(engine, 3):
            assert pool() == (3, 0, 0)
            assert connections.open == 3
        assert pool() == (0, 0, 0)

    def test_a_static_pool_has_one_connection_whoever_has_it(
        self, engine_of: Any, pool: Any
    ) -> None:
        engine = engine_of(StaticPool)
        first, second = engine.connect(), engine.connect()
        assert pool() == (1, 0, 1)
        first.close()
        assert pool() == (1, 0, 1)
        second.close()
        assert pool() == (0, 1, 1)

    def test_a_pool_by_threads_has_a_connection_for_each(self, engine_of: Any, pool: Any) -> None:
        engine = engine_of(SingletonThreadPool, pool_size=4)
        together, stop = threading.Barrier(3), threading.Barrier(3)

        def work() -> None:
            with held(engine, 2):
                together.wait()
                stop.wait()

        with ThreadPoolExecutor(2) as threads:
            working = [threads.submit(work) for _ in range(2)]
            together.wait()
            assert pool() == (2, 0, 4)
            stop.wait()
            for each in working:
                each.result()
            assert pool() == (0, 2, 4)

    def test_a_pool_that_asserts_has_one(self, engine_of: Any, pool: Any) -> None:
        engine = engine_of(AssertionPool)
        with held(engine, 1):
            assert pool() == (1, 0, 1)
            with pytest.raises(AssertionError):
                engine.connect()
        assert pool() == (0, 1, 1)

    def test_a_database_that_cannot_be_opened_is_an_error_of_connecting(
        self, tmp_path: Path, recorder: MemoryRecorder
    ) -> None:
        engine = create_engine(f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}")
        instrument_engine(engine, recorder=recorder)
        for _ in range(2):
            with pytest.raises(exc.OperationalError):
                engine.connect()

        assert recorder.value("db_errors_total", operation="connect") == 2
        assert recorder.histogram("db_checkout_wait_seconds").count == 2
        assert recorder.value("db_connections_active") == 0
        assert recorder.value("db_connections_idle") == 0


class TestNames:
    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({}, "sqlite"),
            ({"logging_name": "engine"}, "engine"),
            ({"logging_name": "engine", "pool_logging_name": "pool"}, "pool"),
        ],
    )
    def test_a_pool_is_called_as_its_engine_is_or_its_dialect(
        self, recorder: MemoryRecorder, options: dict[str, str], name: str
    ) -> None:
        engine = create_engine("sqlite://", **options)
        instrument_engine(engine, recorder=recorder)
        assert recorder.value("db_connections_max", pool=name) == 5

    def test_engines_of_one_name_add_up(self, engine_of: Any, pool: Any) -> None:
        first = engine_of(QueuePool, pool_size=2, max_overflow=0)
        second = engine_of(QueuePool, pool_size=3, max_overflow=0)
        with held(first, 1), held(second, 2):
            assert pool() == (3, 0, 5)
        assert pool() == (0, 3, 5)

    def test_and_have_no_limit_if_one_of_them_has_none(self, engine_of: Any, pool: Any) -> None:
        engines = engine_of(QueuePool, pool_size=2, max_overflow=0), engine_of(NullPool)
        assert len(engines) == 2
        assert pool() == (0, 0, 0)

    def test_a_pool_that_two_engines_share_counts_once(
        self, engine_of: Any, pool: Any, recorder: MemoryRecorder
    ) -> None:
        first = engine_of(QueuePool, pool_size=2, max_overflow=0)
        second = create_engine("sqlite://", pool=first.pool)
        instrument_engine(second, recorder=recorder, pool="main")
        with held(first, 1), held(second, 1):
            assert pool() == (2, 0, 2)
        assert recorder.histogram("db_checkout_wait_seconds").count == 2


def test_a_forked_child_has_nothing_of_what_its_parent_has_checked_out(
    engine_of: Any, pool: Any
) -> None:
    engine = engine_of(QueuePool, pool_size=3, max_overflow=0)
    with held(engine, 2):
        pass
    with held(engine, 1):
        assert pool() == (1, 1, 3)
        child = os.fork()
        if child == 0:
            before = pool()
            engine.dispose(close=False)
            with held(engine, 1):
                inside = pool()
            os._exit(0 if (before, inside, pool()) == ((0, 0, 3), (1, 0, 3), (0, 1, 3)) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert pool() == (1, 1, 3)
