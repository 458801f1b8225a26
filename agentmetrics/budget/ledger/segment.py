"""A segment of a spool: places for records, in a file that outlives its process, or in memory.

A file is mapped, so what was written is the kernel's to keep, whatever becomes of the process. Its
room is reserved when it is made: a page of a mapped file that the disk has no room for would be a
signal, not an error.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

from agentmetrics.budget.ledger.records import (
    PART,
    RECORD,
    check_of,
    check_of_part,
    parts_of,
    read,
)
from agentmetrics.budget.ledger.tally import Key, Numbers

try:
    import fcntl
except ImportError:  # Windows, where spools are in memory
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

MAGIC = b"amspool\n"
VERSION = 2
"""Of the files that are written; older ones are read. From 2 on, keys have a ``cost_source``."""
HEADER_BYTES = 4096
_HEADER = struct.Struct("<8sII")
_UNSPOOLED = struct.Struct("<q")
_UNSPOOLED_AT = HEADER_BYTES - _UNSPOOLED.size
_NOTHING = bytes(128 * RECORD.size)
"""More places than threads are ever ended at once that were just writing to theirs."""
SUFFIX = ".spool"
NEW_SUFFIX = ".new"

held: set[str] = set()
"""The files of this process: a POSIX lock does not keep a process from itself, and is gone when
the process closes the file once, however it was opened."""


class SegmentFullError(Exception):
    """All places of a segment are taken."""


class Segment:
    """Places for records, numbered from ``first`` on. Appending takes no lock: a place is handed
    out once, and a record counts when its check is written."""

    __slots__ = (
        "_base",
        "_file",
        "_next_number",
        "after",
        "base",
        "buffer",
        "first",
        "keys",
        "last",
        "name_places",
        "next_place",
        "numbers",
        "path",
    )  # fmt: skip

    def __init__(self, buffer: Any, first: int, header_bytes: int = 0) -> None:
        self.buffer = buffer
        self.first = first
        self.last = first + (len(buffer) - header_bytes) // RECORD.size - 1
        """Its last place that is ever written."""
        self.after = self.last + 1
        """Where the next segment begins."""
        self._base = self.base = header_bytes - first * RECORD.size
        """Where place 0 would be in the buffer, for those who write."""
        self.next_place = count(first).__next__
        self.numbers: dict[Any, int] = {}
        """The numbers of keys, by what calls have of them."""
        self.keys: dict[int, Key] = {}
        """The keys of these numbers."""
        self.name_places: list[int] = []
        """Those places that hold no call, but a part of a key."""
        self._next_number = count(1).__next__
        self.path: Path | None = None
        self._file: IO[bytes] | None = None

    def define(self, raw: Any, key: Key) -> int:
        """Write a key, and give it a number; raises ``SegmentFullError``."""
        number = self._next_number()
        self.keys[number] = key
        for negative, where, text in parts_of(number, key):
            place = self.next_place()
            self.name_places.append(place)
            check = check_of_part(negative, where, text, place)
            self._pack(PART, place, negative, where, text, check)
        self.numbers[raw] = number
        return number

    def append(self, number: int, amounts: Numbers) -> None:
        """Write what a call adds to the row of a key; raises ``SegmentFullError``.

        Raises ``OverflowError`` for amounts that no database holds, and writes then that nothing
        was added.
        """
        place = self.next_place()
        try:
            RECORD.pack(number, *amounts, 0)
        except struct.error:
            nothing = (0,) * len(amounts)
            self._pack(RECORD, place, number, *nothing, check_of((number,), place))
            raise OverflowError from None
        self._pack(RECORD, place, number, *amounts, check_of((number, *amounts), place))

    def _pack(self, form: struct.Struct, place: int, *values: Any) -> None:
        try:
            form.pack_into(self.buffer, self.base + place * RECORD.size, *values)
        except struct.error:
            raise SegmentFullError from None

    def end(self) -> None:
        """Hand out no more places. Those that were are still written and read."""
        # In this order: a place that is handed out from here on is out of bounds for its writer.
        self.base = len(self.buffer)
        self.last = min(self.last, self.next_place() - 1)

    def records_from(self, place: int, most: int) -> Iterator[tuple[int, ...]]:
        """What the places from this one on hold, as it is; at most so many of them."""
        start = self._base + place * RECORD.size
        end = min(start + most * RECORD.size, self._base + (self.last + 1) * RECORD.size)
        return RECORD.iter_unpack(self.buffer[start:end] if start < end else b"")

    def let_names_go(self) -> None:
        """Keep nothing but its bytes, once all of it was taken and nothing more comes."""
        self.numbers, self.keys, self.name_places = {}, {}, []

    def read_again(self, mark: int, upto: int) -> Iterator[tuple[Key, Numbers]]:
        """What the places after ``mark`` hold, up to and with ``upto``, by its bytes alone."""
        start = self._base + self.first * RECORD.size
        end = self._base + (min(upto, self.last) + 1) * RECORD.size
        for place, key, amounts in read(self.buffer[start : max(start, end)], self.first):
            if place > mark and key is not None:
                yield key, amounts

    def calls_after(self, place: int) -> int:
        """How many calls the places after this one hold by now."""
        first = max(place + 1, self.first)
        records = self.records_from(first, self.last - first + 1)
        return sum(record[1] for record in records if record[-1] and record[0] > 0)

    def is_written(self, place: int) -> bool:
        """Whether the record at this place is complete."""
        at = self._base + (place + 1) * RECORD.size
        return any(self.buffer[at - 8 : at])

    def is_begun_behind(self, place: int) -> bool:
        """Whether anything is in the places just behind this one."""
        start = self._base + (place + 1) * RECORD.size
        behind = self.buffer[start : start + len(_NOTHING)]
        return bool(behind != _NOTHING[: len(behind)])

    @property
    def begun_upto(self) -> int:
        """The last place that anything is in."""
        start = self._base + self.first * RECORD.size
        return self.first - 1 + -(-len(self.buffer[start:].rstrip(b"\0")) // RECORD.size)

    @property
    def file_bytes(self) -> int:
        """The room that it takes on disk."""
        return 0 if self.path is None else len(self.buffer)

    def is_at_its_path(self) -> bool:
        """Whether its file is where it was made, if it has one."""
        if self.path is None or self._file is None:
            return True
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def is_cut_short(self) -> bool:
        """Whether somebody has truncated its file: to read what is missing would be a signal."""
        if self.path is None or self._file is None:
            return False
        return os.fstat(self._file.fileno()).st_size < len(self.buffer)

    def touch(self) -> None:
        """Say that its process is alive, to those who cannot see it."""
        if self._file is not None:
            with suppress(OSError):
                os.utime(self._file.fileno())

    def note_unspooled(self, calls: int) -> None:
        """Note how many finished calls are in memory alone: they are lost with the process."""
        if self.path is not None:
            _UNSPOOLED.pack_into(self.buffer, _UNSPOOLED_AT, calls)

    def remove(self) -> None:
        """Remove its file: everything in it is written."""
        if self.path is not None:
            if self.is_at_its_path():
                with suppress(OSError):
                    self.path.unlink()
            self.leave()

    def leave(self) -> None:
        """Leave its file to whoever takes it up."""
        if self.path is not None:
            held.discard(str(self.path))
            self.path = None
        if self._file is not None:
            with suppress(OSError):
                self._file.close()  # which gives the lock back


def in_memory(first: int, places: int) -> Segment:
    """A segment that is lost with its process."""
    return Segment(bytearray(places * RECORD.size), first)


def on_disk(directory: Path, writer: str, first: int, size_bytes: int) -> Segment:
    """A segment in a new file of its own, which is locked for as long as this process lives.

    Raises ``OSError``.
    """
    path = directory / f"{writer}-{first:012d}{SUFFIX}"
    new = path.with_suffix(NEW_SUFFIX)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    file = os.fdopen(os.open(new, flags, 0o600), "r+b", buffering=0)
    try:
        if not lock(file):
            raise OSError("another process has locked a file that was just made")
        _reserve(file, size_bytes)
        buffer = mmap.mmap(file.fileno(), size_bytes)
        text = json.dumps({"writer": writer, "first": first, "host": host()}).encode()
        buffer[: _HEADER.size + len(text)] = _HEADER.pack(MAGIC, VERSION, len(text)) + text
        held.add(str(path))
        new.rename(path)  # whoever sees it under this name sees it locked
    except BaseException:
        held.discard(str(path))
        file.close()
        with suppress(OSError):
            new.unlink()
        raise
    segment = Segment(buffer, first, HEADER_BYTES)
    segment.path, segment._file = path, file
    return segment


def _reserve(file: IO[bytes], size_bytes: int) -> None:
    reserve = getattr(os, "posix_fallocate", None)
    if reserve is not None:
        reserve(file.fileno(), 0, size_bytes)
    else:
        file.write(bytes(size_bytes))


def lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed, or the process is gone; whether nobody else has.

    A POSIX lock: the child of a fork does not have it, and the kernel takes it back from the dead.
    """
    if not HAS_LOCKS:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def host() -> str:
    """What tells this start of this machine from every other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


class Header(NamedTuple):
    """What a segment's file says of itself."""

    version: int
    writer: str
    first: int
    host: str
    unspooled: int


def header_of(data: bytes) -> Header | None:
    """The header of a segment's file; ``None`` where it has none that can be read.

    Of a newer version only the version is known.
    """
    if len(data) < HEADER_BYTES:
        return None
    magic, version, length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        return None
    if version > VERSION:
        return Header(version, "", 0, "", 0)
    try:
        said = json.loads(data[_HEADER.size : _HEADER.size + length])
        (unspooled,) = _UNSPOOLED.unpack_from(data, _UNSPOOLED_AT)
        return Header(version, str(said["writer"]), int(said["first"]), said["host"], unspooled)
    except (ValueError, KeyError, TypeError):
        return None
