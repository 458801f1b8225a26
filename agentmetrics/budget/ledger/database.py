"""The ledger's database: SQLite in one file or PostgreSQL, behind the same statements.

Connections are opened for one transaction and closed: a fleet of a thousand processes then holds
no thousand connections, nothing has to survive a fork, and a restart of the server is noticed by
nobody who was not writing just then.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agentmetrics.budget.ledger import schema, statements
from agentmetrics.budget.ledger.engine import (
    WRITES,
    checked_url,
    error_text,
    is_sqlite,
    make_engine,
    nowhere,
    reason_for,
    use_write_ahead_log,
)
from agentmetrics.budget.ledger.lines import Lines
from agentmetrics.budget.ledger.schema import (
    CLAIMS,
    LEDGER,
    WRITERS,
    NewerSchemaError,
    SchemaVersionError,
)
from agentmetrics.budget.ledger.snapshot import Snapshot
from agentmetrics.budget.ledger.spend import Spend, Spent
from agentmetrics.budget.ledger.tally import Key, Row
from agentmetrics.budget.ledger.url import without_password
from agentmetrics.errors import LedgerUnavailable

WRITER_MEMORY_DAYS = 90
"""A writer that came back after longer, with a batch of which it does not know whether it was
committed, could count that batch twice. A claim is about a period, which is never so long."""
SILENCE_SECONDS = 5.0
"""How much longer than for one statement a transaction is waited for, before it is cut off."""
LEAST_SECONDS = 2.0
"""What a transaction has in any case, however little time the end of a program has left."""

_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_AWAY = re.compile(
    r"refused|timed? ?out|starting up|shutting down|recovery mode|too many clients"
    r"|connection slots|closed the connection|connection (was |is )?(closed|lost|reset)"
    r"|terminating connection|unreachable|no route|database is locked|locking protocol",
    re.IGNORECASE,
)


class DatabaseAway(LedgerUnavailable):
    """It does not answer, or has no time: something that passes."""


class Added(NamedTuple):
    """Where a writer's mark is, and how many calls have numbers that the database cannot hold."""

    mark: int
    refused_calls: int


class Seen:
    """What this process has seen of a ledger's tables, on whichever of its connections."""

    was_newest = False
    """Whether they were of this version once. Migrations only add: what a process of it writes and
    reads is then still there, whatever a younger one has made of them since."""


_Upsert = Callable[[Connection, Mapping[Key, Row]], int]


class Database:
    """The tables of one ledger. Raises ``ConfigurationError`` when ``url`` can never work.

    Nothing is opened here. Every other method raises ``LedgerUnavailable`` when it cannot do what
    it says, with one sentence that has no password in it.
    """

    read_seconds: float = 30.0
    """How long a server may take for one statement of a transaction that only reads."""
    write_seconds: float = 15.0
    """And of one that writes. What it has not done by then is tried again later."""
    _lines: Lines | None
    """What is cut where a server does not even say that; SQLite's own waits have an end."""

    def __init__(
        self,
        url: str,
        migrations: schema.Migrations = schema.MIGRATIONS,
        seen: Seen | None = None,
    ) -> None:
        self.shown = without_password(url)
        self.url = checked_url(url)
        self._migrations = migrations
        self._is_sqlite = is_sqlite(self.url)
        self._file = Path(self.url.database or "")
        self._engine = make_engine(self.url)
        self._lines = None if self._is_sqlite else Lines(self._engine)
        self._is_prepared = False
        self.seen = seen or Seen()
        self._not_after = math.inf
        self.was_reached = False
        """Whether a transaction has begun since somebody has set this to false."""
        insert = _INSERT[self._engine.dialect.name]
        self._upsert = statements.upsert(insert)
        self._make_mark, self._move_mark = statements.marks(insert)
        self._claim = statements.claim(insert)

    def prepare(self) -> None:
        """Make the tables, or bring them to the newest version, if that was not done yet."""
        if self._is_prepared:
            return
        with self._sentences():
            if self._is_sqlite:
                use_write_ahead_log(self._engine)
            try:
                with self._writing() as connection:
                    schema.migrate(connection, self._migrations)
            except NewerSchemaError:
                if not self.seen.was_newest:
                    raise
        self._is_prepared = self.seen.was_newest = True

    def check(self) -> None:
        """Do nothing if there is a ledger of the newest version: for those who only read."""
        if self._is_sqlite and not self._file.exists():
            raise LedgerUnavailable(f"{self.shown!r}: {nowhere(self.url, self.shown)}")
        with self._sentences(), self._reading() as connection:
            schema.check_newest(connection, self._migrations)

    def probe(self) -> None:
        """Do nothing if there is a ledger, or one can be made; makes none."""
        if self._is_sqlite and not self._file.exists():
            if not os.access(self._file.parent, os.W_OK):
                reason = reason_for("unable to open", self.url)
                raise LedgerUnavailable(f"{self.shown!r}: {reason}")
            return
        with self._sentences(), self._reading() as connection:
            schema.check_not_newer(connection, self._migrations)

    def add(self, writer: str, after: int, upto: int, rows: Mapping[Key, Row]) -> Added:
        """Add what a writer has from behind the place ``after`` on up to ``upto``, and its mark.

        The mark is at ``upto`` when the rows were added, or had been before; elsewhere when nothing
        was added because it is not where the writer believes it to be. Where an earlier attempt
        still lives in the server, this waits for the end of that one.
        """

        def add(connection: Connection, upsert: _Upsert) -> Added:
            moved = {**statements.mark(writer, upto), "after": after}
            if connection.execute(self._move_mark, moved).first() is None:
                return Added(self._mark_of(connection, writer), 0)
            return Added(upto, upsert(connection, rows))

        return self._added(add)

    def add_after_mark(
        self, writer: str, upto: int, rows_after: Callable[[int | None], Mapping[Key, Row]]
    ) -> Added:
        """Add what a writer has left behind its mark, which ``rows_after`` is told, up to
        ``upto``; ``None`` where there is no mark, since nothing was written or it was forgotten."""

        def add(connection: Connection, upsert: _Upsert) -> Added:
            is_new = connection.execute(self._make_mark, statements.mark(writer, 0)).rowcount == 1
            mark = self._mark_of(connection, writer)
            if mark >= upto:
                return Added(mark, 0)
            connection.execute(self._move_mark, {**statements.mark(writer, upto), "after": mark})
            return Added(upto, upsert(connection, rows_after(None if is_new else mark)))

        return self._added(add)

    def _added(self, add: Callable[[Connection, _Upsert], Added]) -> Added:
        with self._sentences():
            try:
                with self._writing() as connection:
                    return add(connection, self._upsert_all)
            except (DBAPIError, OverflowError) as error:
                if not statements.is_of_a_row(error):
                    raise
                with self._writing() as connection:
                    return add(connection, self._upsert_each)

    def _upsert_all(self, connection: Connection, rows: Mapping[Key, Row]) -> int:
        # Every writer locks rows in the same order, and so none waits for one that waits for it.
        if rows:
            records = [statements.record(rows[key]) for key in sorted(rows)]
            if connection.execute(self._upsert, records).rowcount != len(records):
                raise OverflowError
        return 0

    def _upsert_each(self, connection: Connection, rows: Mapping[Key, Row]) -> int:
        """Add those rows that the database takes; how many calls are in the others."""
        refused = 0
        for key in sorted(rows):
            try:
                with connection.begin_nested():
                    if connection.execute(self._upsert, statements.record(rows[key])).rowcount != 1:
                        raise OverflowError
            except (DBAPIError, OverflowError) as error:
                if not statements.is_of_a_row(error):
                    raise
                refused += rows[key].calls
        return refused

    def _mark_of(self, connection: Connection, writer: str) -> int:
        query = select(WRITERS.c.batch).where(WRITERS.c.writer == writer).with_for_update()
        return int(connection.execute(query).scalar() or 0)

    def claim(self, what: str, claimant: str) -> bool:
        """Whether ``what`` is this claimant's: nobody had claimed it, or it has before."""
        claim = {"claimed": what, "claimant": claimant, "claimed_at": int(time.time())}
        with self._sentences(), self._writing() as connection:
            return connection.execute(self._claim, claim).first() is not None

    def spent(self, spends: Sequence[Spend]) -> list[Spent]:
        """What each of these has spent, as far as it is written."""
        with self.snapshot() as snapshot:
            return [snapshot.spent(spend) for spend in spends]

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Several answers from one moment, however much is written meanwhile."""
        with self._sentences(), self._reading() as connection:
            yield Snapshot(connection)

    def prune(self, before: int) -> int:
        """Delete the rows of before this second (Unix time), and writers long gone; how many rows.

        A row that began before it goes as a whole.
        """
        forgotten = int(time.time()) - WRITER_MEMORY_DAYS * 86_400
        with self._sentences(), self._writing() as connection:
            deleted = connection.execute(LEDGER.delete().where(LEDGER.c.bucket < before)).rowcount
            connection.execute(WRITERS.delete().where(WRITERS.c.written_at < forgotten))
            connection.execute(CLAIMS.delete().where(CLAIMS.c.claimed_at < forgotten))
        return int(deleted)

    def _reading(self) -> AbstractContextManager[Connection]:
        options = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        return self._transaction(options, self.read_seconds)

    def _writing(self) -> AbstractContextManager[Connection]:
        return self._transaction({WRITES: True}, self.write_seconds)

    @contextmanager
    def _transaction(self, options: dict[str, Any], seconds: float) -> Iterator[Connection]:
        engine = self._engine.execution_options(**options)
        if self._lines is None:
            with engine.begin() as connection:
                self.was_reached = True
                yield connection
            return
        left = max(LEAST_SECONDS, self._not_after - time.monotonic())
        seconds = min(seconds, left)
        limit = min(seconds + SILENCE_SECONDS, left)
        with self._lines.limited(limit), engine.begin() as connection:
            self.was_reached = True
            # Not in the connection's options, which poolers before the server refuse.
            connection.execute(text(f"SET LOCAL statement_timeout = {round(1000 * seconds)}"))
            yield connection

    @contextmanager
    def in_time(self, seconds: float) -> Iterator[None]:
        """Let a server have no longer than this for what begins in the block: the program ends."""
        self._not_after = time.monotonic() + seconds
        try:
            yield
        finally:
            self._not_after = math.inf

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Errors of the database as one sentence, for which they may be shown anywhere."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, SchemaVersionError) as error:
            self._is_prepared = False  # it may be another database when it comes back
            said = error_text(error)
            kind = DatabaseAway if _AWAY.search(said) else LedgerUnavailable
            raise kind(f"{self.shown!r}: {reason_for(said, self.url)}") from None
