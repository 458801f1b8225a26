"""The engine of a ledger's URL: what each of the two databases needs, and what its errors mean."""

from __future__ import annotations

import sqlite3
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from agentmetrics.budget.ledger.url import HIDDEN, without_password
from agentmetrics.errors import ConfigurationError

SQLITE_WAIT_SECONDS = 10.0
"""How long a writer of SQLite waits for the others."""
CONNECT_SECONDS = 5
WRITES = "agentmetrics_writes"
"""The execution option of a transaction that writes."""

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "postgresql+psycopg2": "postgresql+psycopg2",
}
_INSTALLS = {"psycopg": "'llm-agentmetrics[postgres]'", "psycopg2": "psycopg2-binary"}
_EXAMPLES = "'sqlite:///spend.db' or 'postgresql://user:password@host/database'"
_WAITS = {"connect_timeout": str(CONNECT_SECONDS), "tcp_user_timeout": "20000"}
"""libpq's own: seconds for connecting, milliseconds until what was sent must be acknowledged."""


def checked_url(url: str) -> URL:
    """The URL with the driver and the waits that are ours.

    Raises ``ConfigurationError`` when it can never work.
    """

    def fail(reason: str) -> ConfigurationError:
        return ConfigurationError(f"{without_password(url)!r}: {reason}")

    if not url.isprintable():
        raise fail("a URL has no line break in it; in a password write it as '%0A'")
    parsed = _parsed(url)
    if parsed is None:
        raise fail(f"this is not a database URL; use {_EXAMPLES}")
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise fail(f"the ledger must be SQLite or PostgreSQL; use {_EXAMPLES}")
    if "@" in (parsed.host or "") or ("@" in (parsed.database or "") and driver != "sqlite"):
        raise fail("write '@' as '%40' in the user name and password, '/' as '%2F'")
    if driver == "sqlite":
        name = parsed.database or ""
        if name in ("", ":memory:") or name.startswith("file:"):
            raise fail("the ledger needs a file: use 'sqlite:///spend.db'")
        # Connections come and go, and so may the directory that the program is in.
        return parsed.set(drivername="sqlite", database=str(Path(name).absolute()))
    package = driver.partition("+")[2]
    missing = _missing(package)
    if missing:
        raise fail(missing)
    return parsed.set(drivername=driver).update_query_dict(
        {name: value for name, value in _WAITS.items() if name not in parsed.query}
    )


def _missing(package: str) -> str:
    """What is wrong with a driver of PostgreSQL, and what to install; empty when nothing is."""
    install = f"install it with: pip install {_INSTALLS[package]}"
    if find_spec(package) is None:
        return f"PostgreSQL needs the package {package!r}; {install}"
    try:
        import_module(package)
    except ImportError as error:  # such as psycopg's where libpq is not on the machine
        return f"the package {package!r} cannot be imported ({error_text(error)}); {install}"
    return ""


def _parsed(url: str) -> URL | None:
    """The URL in its parts; errors, whose texts may have the password, end here."""
    try:
        return make_url(url)
    except (SQLAlchemyError, ValueError):
        return None


def make_engine(url: URL) -> Engine:
    """An engine that keeps no connection open between transactions."""
    return _sqlite(url) if is_sqlite(url) else _postgresql(url)


def make_keeping_engine(url: URL) -> Engine:
    """An engine that keeps one connection to PostgreSQL, for one who asks before every call.

    Connecting takes ten times as long as asking. A file of SQLite is opened in no time.
    """
    if is_sqlite(url):
        return _sqlite(url)
    return create_engine(
        url,
        connect_args=_arguments(url),
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,  # the server may have been restarted meanwhile
    )


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _postgresql(url: URL) -> Engine:
    return create_engine(url, poolclass=NullPool, connect_args=_arguments(url))


def _arguments(url: URL) -> dict[str, Any]:
    # Poolers give each transaction another connection.
    return {"prepare_threshold": None} if url.get_driver_name() == "psycopg" else {}


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": SQLITE_WAIT_SECONDS})
    event.listen(engine, "connect", _leave_transactions_to_us)
    event.listen(engine, "begin", _begin)
    return engine


def _leave_transactions_to_us(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    # A transaction that reads first and then wants to write can fail at once, with no waiting.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def use_write_ahead_log(engine: Engine) -> None:
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


def nowhere(url: URL, said: str) -> str:
    """That a file of SQLite is not there, and where it was looked for if the URL does not say."""
    path = url.database or ""
    if path in said:
        return "the file does not exist yet"
    return (
        f"there is no file {path!r} yet; a path after three slashes is relative to the current "
        "directory, one after four is absolute"
    )


def error_text(error: BaseException) -> str:
    """The driver's own words, on one line."""
    own = error.orig if isinstance(error, DBAPIError) and error.orig else error
    lines = [line.strip() for line in str(own).splitlines() if line.strip()]
    return lines[0] if lines else type(own).__name__


def reason_for(said: str, url: URL) -> str:
    """What an error means to the one who set the URL."""
    if is_sqlite(url):
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
    if url.password:
        said = said.replace(url.password, HIDDEN)
    return said.removeprefix("connection failed: ")
