"""What a soak does to its databases."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.services.postgres import PostgresServer


class Database(NamedTuple):
    """A ledger's database, and what may happen to it: each does it once, and says what it was."""

    name: str
    url: str
    trouble: Callable[[Random], str]


def sqlite(directory: Path) -> Database:
    """It knows no restart: another program locks everybody out for a while."""
    file = directory / "spend.db"

    def lock(chance: Random) -> str:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 20000")
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(chance.uniform(0.2, 3))
            other.execute("COMMIT")
        return "SQLite locked"

    return Database("sqlite", f"sqlite:///{file}", lock)


def postgresql(server: PostgresServer) -> Database:
    """It ends in order or crashes, and stays away for a while."""

    def restart(chance: Random) -> str:
        how = chance.choice([signal.SIGINT, signal.SIGQUIT])
        server.stop(how)
        time.sleep(chance.uniform(0, 3))
        server.start()
        return "PostgreSQL restarted" if how == signal.SIGINT else "PostgreSQL crashed"

    return Database("postgresql", server.new_database(), restart)


@contextmanager
def troubled(
    databases: list[Database], seed: int, pause_seconds: float, tell: Callable[[str], None]
) -> Iterator[None]:
    """Let every database have its trouble, time and again; afterwards all are well."""
    over = threading.Event()
    threads = [
        threading.Thread(
            target=_trouble,
            args=(one, Random(f"{seed}{one.name}"), over),
            kwargs={"pause_seconds": pause_seconds, "tell": tell},
        )
        for one in databases
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _trouble(
    database: Database,
    chance: Random,
    over: threading.Event,
    *,
    pause_seconds: float,
    tell: Callable[[str], None],
) -> None:
    while not over.wait(chance.uniform(0.5, 1.5) * pause_seconds):
        tell(database.trouble(chance))
