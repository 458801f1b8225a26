"""The pool of an engine: how long a connection is waited for, and what the pool has now.

A pool has no event before a checkout, so ``connect`` is replaced on the pool itself: everything
that checks a connection out calls it, and the time in it is the wait, a timeout included. So is
``recreate``, by which a pool is followed by the next one (``engine.dispose``). Nothing is counted
up and down: what is checked out is looked at when the gauges are read.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from sqlalchemy.pool import (
    AssertionPool,
    Pool,
    PoolProxiedConnection,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from agentmetrics.plugin import ForkAware, notice_fork, watch_forks
from agentmetrics_sqlalchemy.meter import PoolReading

Waited = Callable[[float, "BaseException | None"], None]
"""Is told how many seconds a checkout took, and of the error if no connection was had."""
_checking_out: ContextVar[object] = ContextVar("agentmetrics_sqlalchemy", default=None)
"""The ``WatchedPools`` whose ``connect`` is being waited for, in this thread or task."""


class WatchedPools(ForkAware):
    """The pools that an engine has one after the other, each replaced by ``recreate``."""

    def __init__(self, waited: Waited, failed: Callable[[str, Exception], None]) -> None:
        self._waited, self._failed = waited, failed
        self._is_watching = True
        self._is_inherited = False
        self._out: set[weakref.ref[PoolProxiedConnection]] = set()
        self._known: set[weakref.ref[Any]] = set()
        watch_forks(self)

    def after_fork_in_child(self) -> None:
        """What the parent has checked out or left in the pool is the parent's."""
        self._out, self._known = set(), set()
        self._is_inherited = True

    def watch(self, pool: Pool) -> None:
        """Measure the checkouts of a pool; one that is measured already stays as it is."""
        own = vars(pool)
        if isinstance(own.get("connect"), _Connect):
            return
        self._known, self._is_inherited = set(), False
        own["connect"] = _Connect(self, pool.connect)
        own["recreate"] = _Recreate(self, pool.recreate)

    def unwatch(self, pool: Pool) -> None:
        """Leave the pool as it was, and those that were before it."""
        self._is_watching = False
        if self._watches(pool):
            del vars(pool)["connect"], vars(pool)["recreate"]

    def _watches(self, pool: Pool) -> bool:
        connect = vars(pool).get("connect")
        return isinstance(connect, _Connect) and connect.watched is self

    def connect(self, ask: Callable[[], PoolProxiedConnection]) -> PoolProxiedConnection:
        """What ``ask`` returns, measured."""
        if not self._is_watching:
            return ask()
        notice_fork()
        before = _checking_out.get()
        _checking_out.set(self)
        began = perf_counter()
        try:
            connection = ask()
        except BaseException as error:
            self._waited(perf_counter() - began, error)
            raise
        finally:
            _checking_out.set(before)
        self._waited(perf_counter() - began, None)
        self._remember(connection)
        return connection

    def is_connecting(self) -> bool:
        """Whether whoever asks does so inside of ``connect``."""
        return _checking_out.get() is self

    def recreate(self, ask: Callable[[], Pool]) -> Pool:
        """The pool that comes after, watched before anybody has it."""
        pool = ask()
        if self._is_watching:
            self.watch(pool)
        return pool

    def _remember(self, connection: PoolProxiedConnection) -> None:
        try:
            self._out.add(weakref.ref(connection, self._out.discard))
            record = connection._connection_record
            if record is not None:  # or somebody's listener has detached it already
                self._known.add(weakref.ref(record, self._known.discard))
        except Exception as error:  # a pool of somebody's own, whose connections are other objects
            self._failed("db_checkout", error)

    def reading(self, pool: Pool) -> PoolReading | None:
        """What the engine has checked out, and what its pool has besides.

        ``None`` where nothing is watched any more, and for a pool that another engine has, too,
        and was watched for that.
        """
        if self._is_watching:
            self.watch(pool)  # somebody may have put it in the place of the one before
        if not self._watches(pool):
            return None
        out = self._checked_out()
        return PoolReading(len(out), self._idle(pool, out), most_connections(pool))

    def _checked_out(self) -> set[int]:
        """The driver's connections, by id: a static pool gives the same one to several at a time.

        Whatever became of a checkout, its connection is not in here any more once it is over.
        """
        return {
            id(connection.dbapi_connection)
            for ref in self._out.copy()
            if (connection := ref()) is not None
            and connection.is_valid
            and not connection.is_detached
        }

    def _idle(self, pool: Pool, out: set[int]) -> int:
        records = (record for ref in self._known.copy() if (record := ref()) is not None)
        resting = [record.dbapi_connection for record in records if not record.in_use]
        connected = [each for each in resting if each is not None and id(each) not in out]
        if isinstance(pool, QueuePool) and not self._is_inherited:
            # What was in it before it was watched counts; what has lost its connection does not.
            return max(0, pool.checkedin() - resting.count(None))
        return len(connected)


class _Connect:
    """``pool.connect`` of a watched pool."""

    __slots__ = ("_ask", "watched")

    def __init__(self, watched: WatchedPools, ask: Callable[[], PoolProxiedConnection]) -> None:
        self.watched, self._ask = watched, ask

    def __call__(self) -> PoolProxiedConnection:
        return self.watched.connect(self._ask)


class _Recreate:
    """``pool.recreate`` of a watched pool."""

    __slots__ = ("_ask", "_watched")

    def __init__(self, watched: WatchedPools, ask: Callable[[], Pool]) -> None:
        self._watched, self._ask = watched, ask

    def __call__(self) -> Pool:
        return self._watched.recreate(self._ask)


def most_connections(pool: Pool) -> int:
    """The most connections that a pool opens, overflow included; 0 where it has no limit."""
    if isinstance(pool, QueuePool):
        overflow: int = getattr(pool, "_max_overflow", -1)  # it says this nowhere else
        return 0 if overflow < 0 else pool.size() + overflow
    if isinstance(pool, SingletonThreadPool):
        return pool.size
    return 1 if isinstance(pool, StaticPool | AssertionPool) else 0
