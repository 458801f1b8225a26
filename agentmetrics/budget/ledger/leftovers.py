"""What processes that died left in their spools, written to the ledger, once.

A file whose lock can be had is nobody's any more. How much of it the database has already is said
by the mark of its writer there, which is read and moved in the transaction that adds the rest: so
nothing is counted twice, whoever else may be at it, or however often this is interrupted.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, NamedTuple

from agentmetrics.budget.ledger.database import WRITER_MEMORY_DAYS, Database
from agentmetrics.budget.ledger.records import RECORD, Read, read
from agentmetrics.budget.ledger.segment import (
    HEADER_BYTES,
    NEW_SUFFIX,
    SUFFIX,
    VERSION,
    Header,
    header_of,
    held,
    host,
    lock,
)
from agentmetrics.budget.ledger.tally import Key, Row, Tally
from agentmetrics.recording.log_once import LogOnce

OTHER_HOST_SECONDS = 600.0
"""How long the file of another machine must not have been touched: its lock may not be seen here,
and its process touches it at every write."""
UNREADABLE_SUFFIX = ".unreadable"
UNFINISHED_SECONDS = 60.0
"""When a file that was never finished is somebody's who died while making it."""

Lose = Callable[[str, int], None]
"""Counts calls that are lost, for a reason."""


class _File(NamedTuple):
    """A file that somebody left, locked, and what is in it."""

    path: Path
    file: IO[bytes]
    header: Header
    data: bytes

    @property
    def records(self) -> Iterator[Read]:
        return read(self.data[HEADER_BYTES:], self.header.first)


class Leftovers:
    """Takes up what is left in a directory of spools."""

    def __init__(self, directory: Path, problems: LogOnce) -> None:
        self._directory, self._problems = directory, problems

    def take_up(self, database: Database, lose: Lose) -> int:
        """Write what dead processes left; returns how many calls that were.

        Raises ``LedgerUnavailable``; what is left stays then where it is.
        """
        found = 0
        with ExitStack() as locks:
            for writer, files in self._by_writer(locks, lose).items():
                found += self._write(database, writer, files, lose)
                for file in files:
                    with suppress(OSError):
                        file.path.unlink()
        return found

    def _write(self, database: Database, writer: str, files: Sequence[_File], lose: Lose) -> int:
        records = [record for file in files for record in file.records]
        unspooled = max(file.header.unspooled for file in files)
        forgotten = time.time() - WRITER_MEMORY_DAYS * 86_400
        lost: Counter[str] = Counter()
        calls = 0

        def rows_after(mark: int | None) -> Mapping[Key, Row]:
            nonlocal calls
            lost.clear()
            tally = Tally()
            for place, key, amounts in records:
                if mark is not None and place <= mark:
                    continue
                if key is None:
                    lost["torn"] += 1
                elif mark is None and key.bucket < forgotten:  # as may be what had told of it
                    lost["too_old"] += amounts[0]
                else:
                    tally.add(key, amounts)
            calls = tally.calls
            return tally.rows

        if records:
            added = database.add_after_mark(writer, records[-1].place, rows_after)
            lost["unwritable"] = added.refused_calls
        lost["not_spooled"] = unspooled
        for reason, many in lost.items():
            lose(reason, many)
        return calls - lost["unwritable"]

    def _by_writer(self, locks: ExitStack, lose: Lose) -> dict[str, list[_File]]:
        """What is nobody's any more, in the order in which it was written."""
        found: dict[str, list[_File]] = {}
        for path in self._paths():
            with suppress(OSError):
                file = self._take(path, locks, lose)
                if file is not None:
                    found.setdefault(file.header.writer, []).append(file)
        for files in found.values():
            files.sort(key=lambda file: file.header.first)
        return found

    def _paths(self) -> Iterator[Path]:
        try:
            paths = sorted(self._directory.iterdir())
        except OSError:  # nobody has made it yet
            return
        for path in paths:
            # Not even to be opened: closing it would give back the lock of this process.
            if str(path) not in held and path.suffix in (SUFFIX, NEW_SUFFIX):
                yield path

    def _take(self, path: Path, locks: ExitStack, lose: Lose) -> _File | None:
        """The file, if its process is gone and it can be read; locked until ``locks`` end."""
        file = locks.enter_context(path.open("r+b"))
        if not lock(file) or not _is_at(path, file):
            return None
        age = time.time() - os.fstat(file.fileno()).st_mtime
        if path.suffix == NEW_SUFFIX:
            if age > UNFINISHED_SECONDS:
                path.unlink()
            return None
        data = file.read()
        header = header_of(data)
        if header is None:
            self._set_aside(path, data, lose)
            return None
        if header.version > VERSION:
            self._problems.warn(
                ("newer", str(path)),
                "%s is of a newer version of agentmetrics, which will take it up",
                path,
            )
            return None
        if header.host != host() and age < OTHER_HOST_SECONDS:
            return None
        return _File(path, file, header, data)

    def _set_aside(self, path: Path, data: bytes, lose: Lose) -> None:
        """Keep a file that is not understood for people, and count what may be in it."""
        path.rename(path.with_suffix(UNREADABLE_SUFFIX))
        body = data[HEADER_BYTES:]
        records = sum(any(body[at : at + RECORD.size]) for at in range(0, len(body), RECORD.size))
        lose("unreadable", records)
        self._problems.warn(("unreadable", str(path)), "%s is no spool that can be read", path)


def _is_at(path: Path, file: IO[bytes]) -> bool:
    """Whether nobody has taken it up in the meantime."""
    return os.path.samestat(path.stat(), os.fstat(file.fileno()))


def taken_up(calls: int) -> str:
    """What was taken up, for a sentence."""
    return f"{calls} calls of processes that ended before they had written them"
