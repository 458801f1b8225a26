"""What calls may still cost that are under way, in the ledger's database: for all processes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import (
    ColumnElement,
    Connection,
    literal,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.pool import Pool

from agentmetrics.budget.ledger.database import Database, DatabaseAway, Seen
from agentmetrics.budget.ledger.demand import ANSWER_SECONDS, LEASE_SECONDS, Demand, Refusal
from agentmetrics.budget.ledger.engine import WRITES, make_keeping_engine
from agentmetrics.budget.ledger.lines import KeptLine
from agentmetrics.budget.ledger.schema import LEDGER, RESERVATIONS, RESERVED_FOR
from agentmetrics.budget.ledger.statements import exact_sums, whole_sums
from agentmetrics.recording.fork import ForkAware, held_lock, watch_forks, within

_OF_PARENTS: list[Pool] = []
"""Kept for good: a connection of a parent's is not a child's to close, and to let go of one that is
open is something that psycopg warns of."""
MOST_NANO = 2**62
"""No reservation is larger than what the databases hold."""

_NOW: Mapping[str, str] = {
    "sqlite": "CAST(strftime('%s', 'now') AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS BIGINT)",
}
"""Unix time by the database's clock, which is one for all processes."""


class Reservations(Database, ForkAware):
    """The reservations of one ledger, on a connection of their own.

    Every method raises ``LedgerUnavailable`` when it cannot do what it says.
    """

    write_seconds = ANSWER_SECONDS

    def __init__(self, url: str, seen: Seen | None = None) -> None:
        super().__init__(url, seen=seen)
        self._engine = make_keeping_engine(self.url)
        self._line = None if self._is_sqlite else KeptLine(self._engine)
        self._lines = self._line
        self._now: ColumnElement[int] = literal_column(_NOW[self._engine.dialect.name])
        self._using = held_lock()
        self._keeps_line = True
        watch_forks(self)

    def take(
        self, id_: str, labels: Mapping[str, str], nano_usd: int, demands: Sequence[Demand]
    ) -> Refusal | None:
        """Reserve ``nano_usd`` for a call with these labels if every demand can be met.

        Whoever demands the same of the same database waits meanwhile, and sees this reservation
        then. ``id_`` is to be new.
        """
        with self._alone() as connection:
            if not self._is_sqlite:  # a writing transaction of SQLite is alone anyway
                for lock in sorted({demand.lock for demand in demands}):  # in one order for all
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
            for number, demand in enumerate(demands):
                spent, reserved = self._taken(connection, demand)
                taken = spent + reserved
                if taken >= demand.limit_nano or taken + nano_usd > demand.limit_nano:
                    return Refusal(number, spent, reserved)
            kept = {"id": id_, "nano_usd": min(nano_usd, MOST_NANO), **labels}
            until = {"reserved_until": self._now + LEASE_SECONDS}
            connection.execute(RESERVATIONS.insert().values({**kept, **until}))
        return None

    def _taken(self, connection: Connection, demand: Demand) -> tuple[int, int]:
        """What is spent and what is reserved of a budget.

        In one statement: what is written while it runs is in both of its parts or in neither.
        """
        columns = demand.scope.columns().items()
        since = max(demand.span.start, demand.earlier_until)
        nothing = literal(0), literal(0)
        by = [LEDGER.c[name] for name in (*RESERVED_FOR, "served_model")]
        spent = (
            select(*by, *exact_sums(LEDGER.c.cost_nano_usd), *nothing)
            .where(LEDGER.c.bucket >= since, LEDGER.c.bucket < demand.span.end)
            .where(*(LEDGER.c[name] == value for name, value in columns))
            .group_by(*by)
        )
        of_calls = [RESERVATIONS.c[name] for name in RESERVED_FOR]
        held = (
            select(*of_calls, literal(""), *nothing, *exact_sums(RESERVATIONS.c.nano_usd))
            .where(RESERVATIONS.c.reserved_until > self._now)
            .where(*(RESERVATIONS.c[name] == value for name, value in columns))
            .group_by(*of_calls)
        )
        found = [
            whole_sums(row[len(by) :])
            for row in connection.execute(union_all(spent, held))
            if demand.scope.takes(
                row.agent_name,
                row.provider,
                row.model,
                row.served_model,
                json.loads(row.dimensions),
            )
        ]
        return demand.earlier_nano + sum(row[0] for row in found), sum(row[1] for row in found)

    def renew(self, ids: Iterable[str]) -> None:
        """Let these last for another lease from now."""
        until = self._now + LEASE_SECONDS
        held = RESERVATIONS.c.id.in_(sorted(ids))
        with self._alone() as connection:
            connection.execute(RESERVATIONS.update().where(held).values(reserved_until=until))

    def release(self, ids: Collection[str]) -> None:
        """Give these back, if they are there: their calls are written, or cost nothing."""
        with self._alone() as connection:
            connection.execute(RESERVATIONS.delete().where(RESERVATIONS.c.id.in_(sorted(ids))))

    def forget_expired(self) -> None:
        """Delete those that nobody has renewed for two leases."""
        long_ago = self._now - LEASE_SECONDS
        with self._alone() as connection:
            connection.execute(
                RESERVATIONS.delete().where(RESERVATIONS.c.reserved_until < long_ago)
            )

    def disconnect(self) -> None:
        """Give up the connection until the next question."""
        with within(ANSWER_SECONDS, self._using) as is_held:
            if is_held:
                self._hang_up()

    def close(self) -> None:
        """Keep no connection from now on: one that is in use just now, or opened later by a thread
        that is late, is given up by whoever uses it."""
        self._keeps_line = False
        self.disconnect()

    def _hang_up(self) -> None:
        self._engine.dispose()
        if self._line is not None:
            self._line.let_go()

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """A transaction that sees what others have committed when its locks are granted."""
        with within(ANSWER_SECONDS, self._using) as is_held:
            if not is_held:
                raise DatabaseAway(f"{self.shown!r}: an earlier question is not answered yet")
            try:
                self.prepare()
                options = {} if self._is_sqlite else {"isolation_level": "READ COMMITTED"}
                writes = self._transaction({WRITES: True, **options}, self.write_seconds)
                with self._sentences(), writes as connection:
                    yield connection
            finally:
                if not self._keeps_line:
                    self._hang_up()

    def after_fork_in_child(self) -> None:
        _OF_PARENTS.append(self._engine.pool)
        self._engine.dispose(close=False)
        if self._line is not None:
            self._line.let_go()
