"""A disk that is full, read-only, emptied or cut short, under a ledger's spool or its SQLite file.

The program goes on, nothing is counted twice, and what is lost is counted with its reason.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from agentmetrics.budget.ledger.segment import header_of
from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.services.disk import Disk
from tests.services.driven import SECONDS, Drive, in_ledger
from tests.services.postgres import PostgresServer
from tests.services.webserver import wait_for

FIRST_FILE = 548
"""Places in the first file of a spool."""
CALLS = times(short=700, whole=7000)
LATER = times(short=700, whole=4000)
"""So few that they are on a disk of 4 MB."""

Trouble = Callable[[Disk, Path], AbstractContextManager[None]]


def unspooled(spool: Path) -> int:
    """How many calls the files of a spool say to be in memory alone."""
    headers = (header_of(path.read_bytes()) for path in spool.rglob("*.spool"))
    return sum(header.unspooled for header in headers if header is not None)


# The spool


@contextmanager
def deleted(disk: Disk, spool: Path) -> Iterator[None]:
    shutil.rmtree(spool)
    yield


OF_SPOOL: dict[str, Trouble] = {
    "full": lambda disk, spool: disk.full(),
    "read-only": lambda disk, spool: disk.read_only(),
    "deleted": deleted,
}


@pytest.mark.parametrize("trouble", OF_SPOOL)
def test_a_spool_in_trouble_keeps_nobody_from_working_and_the_ledger_has_everything(
    trouble: str,
    drive: Drive,
    disk: Callable[[int], Disk],
    postgres_server: PostgresServer,
    proves: Proves,
) -> None:
    url, small = postgres_server.new_database(), disk(4096)
    spool = small.path / "spool"
    program = drive(url, spool)
    program.calls(10)
    with postgres_server.stopped():
        with OF_SPOOL[trouble](small, spool):
            program.calls(CALLS)
            assert not program.flush()
        program.calls(CALLS)
        wait_for(lambda: program.spool_bytes() > 0, SECONDS)
    assert program.flush()
    assert program.lost() == {}
    assert program.log.count("spool cannot be written to") <= 1
    program.end()
    made = 10 + 2 * CALLS
    assert in_ledger(url, spool) == made
    proves(
        f"{made:,} calls, the database away meanwhile as well",
        f"0 raised, 0 lost, {made:,} of {made:,} in the ledger, once; back on disk afterwards",
    )


def test_who_is_killed_while_the_disk_is_full_loses_only_what_was_in_memory(
    drive: Drive, disk: Callable[[int], Disk], postgres_server: PostgresServer, proves: Proves
) -> None:
    url, small = postgres_server.new_database(), disk(256)
    spool = small.path / "spool"
    program = drive(url, spool)
    program.calls(10)
    assert program.flush()
    with postgres_server.stopped():
        small.fill()
        program.calls(CALLS)
        wait_for(lambda: unspooled(spool) >= CALLS - FIRST_FILE, SECONDS)
        program.kill()
    small.empty()
    heir = drive(url, spool)
    heir.calls(1)
    assert heir.flush()
    kept, lost = in_ledger(url), heir.lost()
    made = CALLS + 11
    assert 11 < kept < made
    assert lost == {"not_spooled": made - kept}, heir.log
    heir.end()
    proves(
        f"{made:,} calls, and a kill on a full disk with the database away",
        f"{kept:,} in the ledger and {made - kept:,} counted as not_spooled: {made:,} in all",
    )


def test_a_disk_that_has_room_again_is_used_again(
    drive: Drive, disk: Callable[[int], Disk], postgres_server: PostgresServer, proves: Proves
) -> None:
    url, small = postgres_server.new_database(), disk(4096)
    with small.full():
        program = drive(url, small.path / "spool")
        program.calls(10)
        assert program.spool_bytes() == 0
    wait_for(lambda: program.spool_bytes() > 0, SECONDS)
    assert program.flush()
    with postgres_server.stopped():
        program.calls(LATER)
        program.kill()
    made = LATER + 10
    assert in_ledger(url, small.path / "spool") == made
    proves(
        f"{made:,} calls, and a kill, once a full disk has room again",
        f"0 lost, {made:,} of {made:,} in the ledger, once",
    )


CUT = """
    import os, sys, pathlib
    from agentmetrics import Ledger, MemoryRecorder, record_call
    url, spool, many = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    recorder = MemoryRecorder()
    ledger = Ledger(url, spool_dir=spool, flush_interval_seconds=1000)
    ledger.attach(recorder)
    def calls():
        for number in range(many):
            agent = f"agent-{number % 7}-with-a-name-of-{'many-' * 20}letters"
            record_call("openai", "gpt-4o-mini", agent_name=agent, input_tokens=1,
                        output_tokens=1, recorder=recorder)
    calls()
    for file in spool.rglob("*.spool"):
        os.truncate(file, 0)
    ledger._writer.flush()  # what the ledger's thread does
    calls()
    ledger.flush()
    print(int(recorder.value("agentmetrics_ledger_calls_lost_total", reason="torn")))
    print(ledger.summary().total.calls)
    ledger.close()
"""


def test_a_spool_that_is_cut_short_under_a_program_loses_what_was_not_read_and_says_so(
    tmp_path: Path, proves: Proves
) -> None:
    many = times(short=300, whole=3000)
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(CUT)),
            *(f"sqlite:///{tmp_path}/x.db", str(tmp_path / "spool"), str(many)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    lost, kept = map(int, done.stdout.split())
    assert (lost, kept) == (many, many)
    proves(
        f"{2 * many:,} calls, the file truncated in the middle, before anything of it was read",
        f"0 raised, {lost:,} counted as torn, {kept:,} in the ledger: {lost + kept:,} in all",
    )


def test_a_spool_on_another_disk_than_the_ledger_is_taken_up(
    drive: Drive, disk: Callable[[int], Disk], tmp_path: Path, proves: Proves
) -> None:
    url, other = f"sqlite:///{tmp_path / 'spend.db'}", disk(4096)
    program = drive(url, other.path)
    with closing(sqlite3.connect(tmp_path / "spend.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        program.calls(LATER)
        program.kill()
    for _ in range(2):
        assert in_ledger(url, other.path) == LATER
    proves(f"1 kill with {LATER:,} calls left there", f"{LATER:,} of {LATER:,} taken up, once")


# The file of SQLite, with the spool beside it


@contextmanager
def torn(disk: Disk, file: Path) -> Iterator[None]:
    """It is cut in the middle of a page, until somebody puts back what they have kept of it."""
    kept = file.read_bytes()
    os.truncate(file, len(kept) // 2 - 100)
    yield
    file.write_bytes(kept)


OF_FILE: dict[str, Trouble] = {
    "full": lambda disk, file: disk.full(),
    "read-only": lambda disk, file: disk.read_only(),
    "torn": torn,
}


@pytest.mark.parametrize("trouble", OF_FILE)
def test_a_file_in_trouble_keeps_nobody_from_working_and_has_everything_in_the_end(
    trouble: str, drive: Drive, disk: Callable[[int], Disk], proves: Proves
) -> None:
    small = disk(4096)
    file = small.path / "spend.db"
    program = drive(f"sqlite:///{file}")
    program.calls(10)
    assert program.flush()
    with OF_FILE[trouble](small, file):
        program.calls(LATER)
        assert not program.flush()
        program.calls(LATER)
    assert program.flush(), program.log
    assert program.lost() == {}
    assert program.log.count("the ledger cannot be written to") == 1
    program.end()
    made = 10 + 2 * LATER
    assert in_ledger(f"sqlite:///{file}") == made
    proves(
        f"{made:,} calls, with the spool on the same disk",
        f"0 raised, 0 lost, {made:,} of {made:,} in the ledger, once",
    )


def emptied(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("how", [Path.unlink, emptied], ids=["deleted", "truncated"])
def test_a_file_that_is_gone_is_made_anew_with_all_that_comes_from_then_on(
    how: Callable[[Path], None], drive: Drive, tmp_path: Path, proves: Proves
) -> None:
    file = tmp_path / "spend.db"
    program = drive(f"sqlite:///{file}")
    program.calls(10)
    assert program.flush()
    how(file)
    program.calls(LATER)
    wait_for(program.flush, SECONDS)  # of the first attempts it may hear that it is another file
    assert program.lost() == {}
    program.end()
    assert in_ledger(f"sqlite:///{file}") == LATER
    proves(
        f"{LATER:,} calls, when 10 had been written",
        f"0 raised, 0 lost; {LATER:,} of {LATER:,} in the new file, once",
    )


def test_the_end_of_a_program_on_a_full_disk_comes_and_leaves_what_is_left_to_the_next(
    drive: Drive, disk: Callable[[int], Disk], proves: Proves
) -> None:
    small = disk(4096)
    file = small.path / "spend.db"
    program = drive(f"sqlite:///{file}")
    program.calls(10)
    assert program.flush()
    program.calls(LATER)  # for which there is room in the spool by now
    with small.full():
        program.calls(10)
        program.process.send_signal(signal.SIGTERM)
        program.process.wait(SECONDS)
    assert in_ledger(f"sqlite:///{file}") == LATER + 20
    proves(
        f"1 SIGTERM with {LATER + 10:,} calls that the file has no room for",
        f"0 hung, 0 lost, {LATER + 20:,} of {LATER + 20:,} in the ledger, once",
    )
