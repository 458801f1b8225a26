"""The ledger's database: SQLite in one file or PostgreSQL, behind the same statements.

Connections are opened for one transaction and closed: a fleet of a thousand processes then holds
no thousand connections, nothing has to survive a fork, and a restart of the server is noticed by
nobody who was not writing just then.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Select, create_engine, event, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from agentmetrics.budget.ledger import schema
from agentmetrics.budget.ledger.schema import LEDGER, WRITERS, SchemaVersionError
from agentmetrics.budget.ledger.spend import Spend
from agentmetrics.budget.ledger.tally import AMOUNTS, Amounts, Key, Row
from agentmetrics.budget.ledger.url import without_password
from agentmetrics.errors import ConfigurationError, LedgerUnavailable

SQLITE_WAIT_SECONDS = 10.0
"""How long a writer of SQLite waits for the others."""
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
WRITER_MEMORY_DAYS = 90
"""A writer that came back after longer, with a batch of which it does not know whether it was
committed, could count that batch twice."""

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "postgresql+psycopg2": "postgresql+psycopg2",
}
_EXAMPLES = "'sqlite:///spend.db' or 'postgresql://user:password@host/database'"
_WRITES = "agentmetrics_writes"
_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_AWAY = re.compile(
    r"refused|timed? ?out|starting up|shutting down|recovery mode|too many clients"
    r"|connection slots|closed the connection|connection (was |is )?(closed|lost|reset)"
    r"|terminating connection|unreachable|no route|database is locked|locking protocol",
    re.IGNORECASE,
)


class DatabaseAway(LedgerUnavailable):
    """It does not answer, or has no time: something that passes."""


class UnwritableError(Exception):
    """A batch has a value that the database cannot hold, now or later."""


class Database:
    """The tables of one ledger. Raises ``ConfigurationError`` when ``url`` can never work.

    Nothing is opened here. Every other method raises ``LedgerUnavailable`` when it cannot do what
    it says, with one sentence that has no password in it.
    """

    def __init__(self, url: str, migrations: schema.Migrations = schema.MIGRATIONS) -> None:
        self.shown = without_password(url)
        self._url = _checked(url, self.shown)
        self._migrations = migrations
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._file = Path(self._url.database or "")
        self._engine = _sqlite(self._url) if self._is_sqlite else _postgresql(self._url)
        self._is_prepared = False
        self._upsert, self._claim = _statements(_INSERT[self._engine.dialect.name])

    def prepare(self) -> None:
        """Make the tables, or bring them to the newest version, if that was not done yet."""
        if self._is_prepared:
            return
        with self._sentences():
            if self._is_sqlite:
                _use_write_ahead_log(self._engine)
            with self._writing() as connection:
                schema.migrate(connection, self._migrations)
        self._is_prepared = True

    def check(self) -> None:
        """Do nothing if there is a ledger of the newest version: for those who only read."""
        if self._is_sqlite and not self._file.exists():
            raise LedgerUnavailable(f"{self.shown!r}: the file does not exist yet")
        with self._sentences(), self._reading() as connection:
            schema.check_newest(connection, self._migrations)

    def probe(self) -> None:
        """Do nothing if there is a ledger, or one can be made; makes none."""
        if self._is_sqlite and not self._file.exists():
            if not os.access(self._file.parent, os.W_OK):
                reason = _reason("unable to open", self._url)
                raise LedgerUnavailable(f"{self.shown!r}: {reason}")
            return
        with self._sentences(), self._reading() as connection:
            schema.check_not_newer(connection, self._migrations)

    def add(self, writer: str, batch: int, rows: Mapping[Key, Row]) -> None:
        """Add a writer's next batch, once: a batch that is there already is left as it is.

        Its number is written in the same transaction. Where an earlier attempt still lives in the
        server, claiming the number waits for the end of that one.

        Raises ``UnwritableError`` when another attempt would be as vain as this one.
        """
        claim = {"writer": writer, "batch": batch, "written_at": int(time.time())}
        # Every writer locks rows in the same order, and so none waits for one that waits for it.
        records = [_record(rows[key]) for key in sorted(rows)]
        with self._sentences():
            try:
                with self._writing() as connection:
                    if connection.execute(self._claim, claim).first() is not None:
                        connection.execute(self._upsert, records)
            except (DataError, OverflowError) as error:
                raise UnwritableError(type(error).__name__) from None

    def spent(self, spends: Sequence[Spend]) -> list[int]:
        """What each of these has spent, in 10⁻⁹ USD, as far as it is written."""
        with self._sentences(), self._reading() as connection:
            return [self._spent(connection, spend) for spend in spends]

    def _spent(self, connection: Connection, spend: Spend) -> int:
        names = [LEDGER.c[name] for name in ("agent_name", "provider", "model", "dimensions")]
        query = (
            select(*names, func.sum(LEDGER.c.cost_nano_usd).label("cost"))
            .where(LEDGER.c.bucket >= spend.start, LEDGER.c.bucket < spend.end)
            .where(*(LEDGER.c[name] == value for name, value in spend.scope.columns().items()))
            .group_by(*names)
        )
        return sum(
            int(row.cost)
            for row in connection.execute(query)
            if spend.scope.takes(
                row.agent_name, row.provider, row.model, json.loads(row.dimensions)
            )
        )

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
        return int(deleted)

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._transaction({} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"})

    def _writing(self) -> AbstractContextManager[Connection]:
        return self._transaction({_WRITES: True})

    @contextmanager
    def _transaction(self, options: dict[str, Any]) -> Iterator[Connection]:
        with self._engine.execution_options(**options).begin() as connection:
            if not self._is_sqlite:
                # Not in the connection's options, which poolers before the server refuse.
                connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"))
            yield connection

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Errors of the database as one sentence, for which they may be shown anywhere."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, SchemaVersionError) as error:
            self._is_prepared = False  # it may be another database when it comes back
            said = _said(error)
            kind = DatabaseAway if _AWAY.search(said) else LedgerUnavailable
            raise kind(f"{self.shown!r}: {_reason(said, self._url)}") from None


class Snapshot:
    """The ledger as it was at one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def amounts(self, start: int, end: int, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """For each set of values of these columns the values and their ``Amounts``.

        ``start`` and ``end`` are Unix seconds on a quarter of an hour; the end is not in it.
        """
        by = [LEDGER.c[name] for name in columns]
        sums = [func.sum(LEDGER.c[name]) for name in AMOUNTS]
        query: Select[Any] = (
            select(*by, *sums)
            .where(LEDGER.c.bucket >= start, LEDGER.c.bucket < end)
            .group_by(*by)
            .having(func.count() > 0)  # without columns there would be a row of nothing
        )
        return [
            (*row[: len(by)], Amounts(*map(int, row[len(by) :])))
            for row in self._connection.execute(query)
        ]


def _statements(insert: Any) -> tuple[Any, Any]:
    """The upsert of a row, and the claim to a batch, which answers unless it was made before."""
    row = insert(LEDGER)
    upsert = row.on_conflict_do_update(
        index_elements=[LEDGER.c.bucket, LEDGER.c.key_hash],
        set_={name: LEDGER.c[name] + row.excluded[name] for name in AMOUNTS},
    )
    batch = insert(WRITERS)
    claim = batch.on_conflict_do_update(
        index_elements=[WRITERS.c.writer],
        set_={"batch": batch.excluded.batch, "written_at": batch.excluded.written_at},
        where=WRITERS.c.batch < batch.excluded.batch,
    ).returning(WRITERS.c.batch)
    return upsert, claim


def _record(row: Row) -> dict[str, Any]:
    sums = {name: getattr(row, name) for name in AMOUNTS}
    return {"key_hash": schema.key_hash(row.key), **row.key._asdict(), **sums}


def _checked(url: str, shown: str) -> URL:
    def fail(reason: str) -> ConfigurationError:
        return ConfigurationError(f"{shown!r}: {reason}")

    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):  # whose texts may have the password
        raise fail(f"this is not a database URL; use {_EXAMPLES}") from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise fail(f"the ledger must be SQLite or PostgreSQL; use {_EXAMPLES}")
    if "@" in (parsed.host or ""):
        raise fail("write '@' as '%40' in the user name and password")
    if driver == "sqlite":
        name = parsed.database or ""
        if name in ("", ":memory:") or name.startswith("file:"):
            raise fail("the ledger needs a file: use 'sqlite:///spend.db'")
        # Connections come and go, and so may the directory that the program is in.
        return parsed.set(drivername="sqlite", database=str(Path(name).absolute()))
    package = driver.partition("+")[2]
    if find_spec(package) is None:
        raise fail(
            f"PostgreSQL needs the package {package!r}; "
            f"install it with: pip install '{package}[binary]'"
        )
    return parsed.set(drivername=driver).update_query_dict(
        {name: value for name, value in _WAITS.items() if name not in parsed.query}
    )


_WAITS = {"connect_timeout": str(CONNECT_SECONDS), "tcp_user_timeout": "20000"}
"""libpq's own: seconds for connecting, milliseconds until what was sent must be acknowledged."""


def _postgresql(url: URL) -> Engine:
    arguments: dict[str, Any] = {}
    if url.get_driver_name() == "psycopg":
        arguments["prepare_threshold"] = None  # poolers give each transaction another connection
    return create_engine(url, poolclass=NullPool, connect_args=arguments)


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": SQLITE_WAIT_SECONDS})
    event.listen(engine, "connect", _leave_transactions_to_us)
    event.listen(engine, "begin", _begin)
    return engine


def _leave_transactions_to_us(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    # A transaction that reads first and then wants to write can fail at once, with no waiting.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_write_ahead_log(engine: Engine) -> None:
    """Let readers and a writer not wait for each other: a property of the file, which stays."""
    deadline = time.monotonic() + SQLITE_WAIT_SECONDS
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # Another process does the same just now; here SQLite does not wait by itself.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        finally:
            connection.close()
        time.sleep(0.02)


def _said(error: BaseException) -> str:
    """The driver's own words, on one line."""
    own = error.orig if isinstance(error, DBAPIError) and error.orig else error
    lines = [line.strip() for line in str(own).splitlines() if line.strip()]
    return lines[0] if lines else type(own).__name__


def _reason(said: str, url: URL) -> str:
    """What an error means to the one who set the URL."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if "unable to open" in said:
            if path.is_dir():
                return "this is a directory; use a file in it"
            if not path.parent.is_dir():
                return f"the directory {str(path.parent)!r} does not exist"
            return "the file cannot be opened; check its permissions"
        if "readonly" in said:
            return "the file cannot be written to; check its permissions"
        if "not a database" in said:
            return "this file is not a SQLite database"
    return said.removeprefix("connection failed: ")
