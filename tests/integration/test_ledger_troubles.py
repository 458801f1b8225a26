"""A spool on a bad disk, a database that is not itself, a clock that jumps: real ones of each.

The program goes on, nothing is counted twice, and what is lost is counted with its reason.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from agentmetrics.budget.ledger.segment import header_of
from tests.services.disk import Disk
from tests.services.driven import SECONDS, Drive, in_ledger
from tests.services.postgres import PostgresServer
from tests.services.webserver import wait_for

DAY_SECONDS = 86_400.0
FIRST_FILE = 548
"""Places in the first file of a spool."""
CALLS = 700


@contextmanager
def away(server: PostgresServer) -> Iterator[None]:
    """The database cannot be reached meanwhile."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def unspooled(spool: Path) -> int:
    """How many calls the files of a spool say to be in memory alone."""
    headers = (header_of(path.read_bytes()) for path in spool.rglob("*.spool"))
    return sum(header.unspooled for header in headers if header is not None)


# The disk


def test_a_full_disk_keeps_nobody_from_working_and_the_ledger_has_everything_in_the_end(
    drive: Drive, disk: Callable[[int], Disk], postgres_server: PostgresServer
) -> None:
    url, small = postgres_server.new_database(), disk(256)
    small.fill()
    program = drive(url, small.path / "spool")
    program.calls(CALLS)
    with away(postgres_server):
        program.calls(CALLS)
        assert not program.flush()
    assert program.flush()
    assert "spool cannot be written to" in program.log
    assert program.log.count("No space left") == 1
    program.end()
    assert in_ledger(url) == 2 * CALLS


def test_who_is_killed_while_the_disk_is_full_loses_only_what_was_in_memory(
    drive: Drive, disk: Callable[[int], Disk], postgres_server: PostgresServer
) -> None:
    url, small = postgres_server.new_database(), disk(256)
    spool = small.path / "spool"
    program = drive(url, spool)
    program.calls(10)
    assert program.flush()
    with away(postgres_server):
        small.fill()
        program.calls(CALLS)
        wait_for(lambda: unspooled(spool) >= CALLS - FIRST_FILE, SECONDS)
        program.kill()
    small.empty()
    heir = drive(url, spool)
    heir.calls(1)
    assert heir.flush()
    kept, lost = in_ledger(url), heir.lost()
    assert 11 < kept < CALLS + 11
    assert lost == {"not_spooled": CALLS + 11 - kept}, heir.log
    heir.end()


def test_a_disk_that_has_room_again_is_used_again(
    drive: Drive, disk: Callable[[int], Disk], postgres_server: PostgresServer
) -> None:
    url, small = postgres_server.new_database(), disk(4096)
    small.fill()
    program = drive(url, small.path / "spool")
    program.calls(10)
    assert program.spool_bytes() == 0
    small.empty()
    wait_for(lambda: program.spool_bytes() > 0, SECONDS)
    assert program.flush()
    with away(postgres_server):
        program.calls(CALLS)
        program.kill()
    assert in_ledger(url, small.path / "spool") == CALLS + 10


def test_a_disk_that_turns_read_only_is_no_more_than_one_that_is_full(
    drive: Drive, disk: Callable[[int], Disk], tmp_path: Path
) -> None:
    url, other = f"sqlite:///{tmp_path / 'spend.db'}", disk(4096)
    other.remount("ro")
    program = drive(url, other.path / "spool")
    program.calls(CALLS)
    assert program.flush()
    assert program.log.count("Read-only file system") == 1
    program.end()
    assert in_ledger(url) == CALLS


def test_a_spool_that_is_cut_short_under_a_program_loses_what_was_not_read_and_says_so(
    drive: Drive, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url, spool = postgres_server.new_database(), tmp_path / "spool"
    program = drive(url, spool)
    program.calls(10)
    assert program.flush()
    (file,) = spool.rglob("*.spool")
    with file.open("r+b") as opened:
        opened.truncate(0)
    wait_for(lambda: not file.exists(), SECONDS)
    program.calls(10)
    assert program.flush()
    program.end()
    assert in_ledger(url, spool) == 20


def test_a_spool_on_another_disk_than_the_ledger_is_taken_up(
    drive: Drive, disk: Callable[[int], Disk], tmp_path: Path
) -> None:
    url, other = f"sqlite:///{tmp_path / 'spend.db'}", disk(4096)
    program = drive(url, other.path)
    with sqlite3.connect(tmp_path / "spend.db", isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        program.calls(CALLS)
        program.kill()
        holder.execute("COMMIT")
    holder.close()
    assert in_ledger(url, other.path) == CALLS
    assert in_ledger(url, other.path) == CALLS


# The database


def test_a_database_that_hangs_holds_up_no_call_and_not_the_end(
    drive: Drive, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url, spool = postgres_server.new_database(), tmp_path / "spool"
    program = drive(url, spool)
    program.calls(10)
    assert program.flush()
    postgres_server.pause()
    try:
        program.calls(CALLS)
        time.sleep(0.5)  # the thread is at it by now, and waits
        began = time.monotonic()
        program.calls(CALLS)
        assert time.monotonic() - began < SECONDS / 2
        program.process.send_signal(signal.SIGTERM)
        program.process.wait(SECONDS)
    finally:
        postgres_server.resume()
    assert in_ledger(url, spool) == 2 * CALLS + 10


def test_a_database_that_was_away_while_processes_came_and_went_has_all_of_them(
    drive: Drive, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url, spool = postgres_server.new_database(), tmp_path / "spool"
    with away(postgres_server):
        for _ in range(3):
            program = drive(url, spool)
            program.calls(CALLS)
            program.kill()
    last = drive(url, spool)
    last.calls(1)
    assert last.flush()
    assert last.lost() == {}
    last.end()
    assert in_ledger(url, spool) == 3 * CALLS + 1


def test_an_empty_database_in_the_place_of_the_old_one_has_what_is_spent_from_then_on(
    drive: Drive, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url, spool = postgres_server.new_database(), tmp_path / "spool"
    name = url.rpartition("/")[2]
    program = drive(url, spool)
    program.calls(10)
    assert program.flush()
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        program.calls(20)
        admin.execute(f"CREATE DATABASE {name}")
    program.calls(30)
    program.kill()
    # The first ten were in the old one; what the spool still has of them is no loss, either.
    assert 50 <= in_ledger(url, spool) <= 60


# The clock


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_by_a_day_changes_no_sum(
    drive: Drive, tmp_path: Path, days: int
) -> None:
    url, spool = f"sqlite:///{tmp_path / 'spend.db'}", tmp_path / "spool"
    program = drive(url, spool)
    program.calls(100)
    assert program.flush()
    program.jump(days * DAY_SECONDS)
    program.calls(100)
    assert program.flush()
    program.jump(-days * DAY_SECONDS)
    program.calls(CALLS)
    program.kill()
    assert in_ledger(url, spool) == CALLS + 200
    assert in_ledger(url, spool) == CALLS + 200
