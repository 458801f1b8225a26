"""The files that prometheus-client maps, with room on the disk for every page that is written.

Its own are sparse: a page that the disk has no room for is then a signal, which ends the program.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import json
import os
import struct
import threading
from contextlib import suppress
from inspect import getclosurevars
from pathlib import Path
from types import CellType
from typing import Any, cast

from prometheus_client import mmap_dict
from prometheus_client import values as client_values
from prometheus_client.mmap_dict import MmapedDict

from agentmetrics.recording.fork import renewed_lock
from agentmetrics.recording.log_once import LogOnce

ENTRY_BYTES = 28
"""What an entry takes beside its key, at most: its length, its padding, a value and a time."""
SPARE_BYTES = 1024
"""What every file keeps for the series that say what others found no room."""
_pack = struct.Struct("dd").pack
_SAYING = '["agentmetrics_multiprocess_'

_Series = tuple[str, tuple[tuple[str, str], ...]]
"""The name of a metric and its labels, without the bound of a bucket."""


values: Any = client_values  # it has no types


class ReservedFile(MmapedDict):
    """prometheus-client's file, whose room is reserved as it is made and as it grows.

    What finds no room is kept in memory, until ``settle`` finds some.
    """

    _f: Any
    """``None`` while there is no room for the file itself."""

    def __init__(self, filename: str) -> None:
        self._fname = filename
        self._f = None
        self._positions: dict[str, int] = {}
        self._used = self._capacity = 0
        self.waiting: dict[str, tuple[float, float]] = {}
        """What is in memory alone: values and their times, by their keys."""
        self.came: list[str] = []
        """The keys that came to it since somebody has counted them."""
        with suppress(OSError):
            self._open()

    def _open(self) -> None:
        Path(self._fname).parent.mkdir(parents=True, exist_ok=True)
        with open(self._fname, "ab") as file:  # noqa: PTH123  # as prometheus-client names it
            had = os.fstat(file.fileno()).st_size
            try:
                _reserve(file.fileno(), 0, had or mmap_dict._INITIAL_MMAP_SIZE)
            except OSError:
                if not had:
                    Path(self._fname).unlink()
                raise
        super().__init__(self._fname)

    def _init_value(self, key: str) -> None:
        # Where others wait, the disk is asked when they are settled, and not for every value.
        if (not self.waiting or key.startswith(_SAYING)) and self._has_room_for(key):
            super()._init_value(key)
        else:
            self.waiting[key] = 0.0, 0.0
            self.came.append(key)

    def _has_room_for(self, key: str) -> bool:
        """Whether an entry more finds room, which is reserved then."""
        if self._f is None:
            return False
        many = len(key.encode()) + ENTRY_BYTES
        if not key.startswith(_SAYING):
            many += SPARE_BYTES
        needed = self._capacity
        while self._used + many > needed:
            needed *= 2
        try:
            _reserve(self._f.fileno(), self._capacity, needed - self._capacity)
        except OSError:
            return False
        return True

    def read_value(self, key: str) -> tuple[float, float]:
        if key not in self._positions and key not in self.waiting:
            self._init_value(key)
        if key in self.waiting:
            return self.waiting[key]
        return cast("tuple[float, float]", super().read_value(key))

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        if key in self._positions:  # written out: every update of a metric comes here
            place = self._positions[key]
            self._m[place : place + 16] = _pack(value, timestamp)
            return
        if key not in self.waiting:
            self._init_value(key)
        if key in self.waiting:
            self.waiting[key] = value, timestamp
        else:
            super().write_value(key, value, timestamp)

    def settle(self) -> None:
        """Write what waits in memory, as far as there is room by now."""
        if self.waiting and self._f is None:
            with suppress(OSError):
                self._open()
        for key, (value, timestamp) in list(self.waiting.items()):
            if not self._has_room_for(key):
                return
            super()._init_value(key)
            super().write_value(key, value, timestamp)
            del self.waiting[key]

    @property
    def is_whole(self) -> bool:
        """Whether it is where it was made, and as long as it is mapped."""
        if self._f is None:
            return True
        here = os.fstat(self._f.fileno())
        try:
            return here.st_size >= self._capacity and os.path.samestat(
                Path(self._fname).stat(), here
            )
        except OSError:
            return False


def _reserve(descriptor: int, start: int, many: int) -> None:
    """Have the disk keep room for so many bytes from here on. Raises ``OSError``."""
    if not many:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, many)
        return
    end = os.fstat(descriptor).st_size  # macOS: opened for appending, it is written at its end
    if start + many > end:
        os.write(descriptor, bytes(start + many - end))


class Files:
    """The files of this process, which prometheus-client has in its value class.

    From here on it makes none but reserved ones, for the program's own metrics as well, and in
    the children of a fork, which make theirs when they first need them.
    """

    def __init__(self) -> None:
        close_all = values.ValueClass.close_all_files.__func__
        inside = getclosurevars(close_all).nonlocals
        self.lock = _re_entrant(_cell_of(close_all, "lock"))
        """prometheus-client's own, of all values in files."""
        self._files: dict[str, MmapedDict] = inside["files"]
        changed = getclosurevars(values.ValueClass._MmapedValue__check_for_pid_change).nonlocals
        self._owner, self._me = changed["pid"], changed["process_identifier"]
        self._values: list[Any] = inside["values"]
        values.MmapedDict = ReservedFile
        self._counted: set[_Series] = set()
        self._problems = LogOnce()
        with self.lock:
            for kind, file in list(self._files.items()):
                if not isinstance(file, ReservedFile):
                    self._put(kind, file)

    def look_after(self) -> tuple[int, int]:
        """Make anew what was deleted or cut short, and write what found no room, if there is now.

        Returns how many files that were, and how many series newly found no room.
        """
        remade, came, is_waiting = 0, list[str](), False
        with self.lock:
            if self._owner["value"] != self._me():  # in a child that has made none yet
                return 0, 0
            for kind, file in list(self._files.items()):
                if not isinstance(file, ReservedFile):
                    continue
                if not file.is_whole:
                    file = self._remake(kind, file)
                    remade += 1
                file.settle()
                is_waiting |= bool(file.waiting)
                came += file.came
                file.came = []
        self._say(remade, is_waiting)
        new = {*map(_series, came)} - self._counted
        self._counted |= new
        return remade, len(new)

    def _remake(self, kind: str, file: ReservedFile) -> ReservedFile:
        path = Path(file._fname)
        with suppress(OSError):
            path.unlink(missing_ok=True)  # it is too short to be mapped as it was
        new = self._put(kind, file)
        for value in self._values:
            if value._file is new:
                new.write_value(value._key, value._value, value._timestamp)
        return new

    def _put(self, kind: str, file: MmapedDict) -> ReservedFile:
        """Put a reserved file of the same name in the place of one that is open.

        The old one's pages are not touched: what it is about is in its values, too.
        """
        new = self._files[kind] = ReservedFile(file._fname)
        for value in self._values:
            if value._file is file:
                value._file = new
        file.close()
        return new

    def _say(self, remade: int, is_waiting: bool) -> None:
        if is_waiting:
            self._problems.warn(
                "room",
                "the disk has no room for more metrics in the multiprocess directory: further "
                "series are in the memory of their process, and in no scrape, until it has",
            )
        else:
            self._problems.over("room")
        if remade:
            self._problems.warn(
                "remade",
                "files in the multiprocess directory were deleted or cut short while this process "
                "was writing to them; it has made them anew with all of its own values",
            )
        else:
            self._problems.over("remade")


def _cell_of(function: Any, name: str) -> CellType:
    cell: CellType = function.__closure__[function.__code__.co_freevars.index(name)]
    return cell


def _re_entrant(cell: CellType) -> threading.RLock:
    """Have a re-entrant lock in this cell, one that is free in every child of a fork.

    With prometheus-client's own, which is neither, a thread hangs that the collector lets end a
    call in the middle of an update, and the child of a fork hangs.
    """
    if not hasattr(cell.cell_contents, "_is_owned"):
        cell.cell_contents = renewed_lock()
    found: threading.RLock = cell.cell_contents
    return found


def _series(key: str) -> _Series:
    name, _, labels, _ = json.loads(key)
    return name, tuple(sorted((of, it) for of, it in labels.items() if of != "le"))
