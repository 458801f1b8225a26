"""The spool of one process: what its ledger is owed, on disk before a call's end returns.

It is a row of segments. The newest takes what comes; those of which everything is in the database
are removed. Where there is no room on disk, a segment is in memory, and disk is tried again later.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from agentmetrics.budget.ledger.place import SpoolPlace
from agentmetrics.budget.ledger.segment import Segment, in_memory, on_disk
from agentmetrics.budget.ledger.tally import Key, Numbers
from agentmetrics.recording.fork import renewed_lock
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.said import later

FIRST_SEGMENT_BYTES = 64 * 1024
"""Room for 548 calls: most processes that live for a short time need no more."""
SEGMENT_BYTES = 1024 * 1024
MOST_BYTES = 64 * 1024 * 1024
"""On disk in one process: some 600 000 calls that no database has taken."""
MEMORY_PLACES = 2048
MOST_IN_MEMORY = 32
"""Segments in memory that are kept once they were taken: 7 MiB."""
HOLE_SECONDS = 10.0
"""How long a place is waited for that was handed out and is not written: its thread may be slow."""
_READ_AT_ONCE = 1024


class Spool:
    """What one process owes its ledger, and the number of its writer.

    ``place`` is the directory of its files, ``None`` for a spool in memory alone. Appending takes
    no lock; everything else is for the writer, under its own.
    """

    def __init__(self, place: SpoolPlace | None, problems: LogOnce) -> None:
        self.writer = uuid.uuid4().hex
        self._place, self._problems = place, problems
        self._growing = renewed_lock()
        self.segment = in_memory(1, 0)
        """Where the next record goes; full at first, so that a file is made when there is need."""
        self._segments: list[Segment] = []
        self._taken = 0
        self._gone = (0, 0)
        """The last place that was in memory and was let go of, and how many calls were so."""
        self._hole: tuple[int, float] | None = None
        self.patience_seconds = HOLE_SECONDS

    @property
    def taken(self) -> int:
        """The last place that was read."""
        return self._taken

    def grow(self, full: Segment) -> Segment:
        """The segment after a full one."""
        return self._go_on(full, self._make)

    def _go_on(self, behind: Segment, make: Callable[[int], Segment]) -> Segment:
        """The segment after this one, which is made unless somebody else has."""
        with later(), self._growing:
            if self.segment is behind:
                # Somebody may have made it who was told to stop just then.
                made = next((it for it in self._segments if it.first == behind.after), None)
                if made is None:
                    made = make(behind.after)
                    if self.segment is not behind:  # the collector has come here meanwhile
                        made.remove()
                        return self.segment
                    self._segments.append(made)
                self.segment = made
            return self.segment

    def _make(self, first: int) -> Segment:
        if self._place is not None:
            try:
                return self._make_on_disk(self._place, first)
            except OSError as error:
                self._problems.warn(
                    "spool",
                    "the ledger's spool cannot be written to (%s: %s); until it can, calls that "
                    "are not yet in the database are lost if this process is killed",
                    self._place.directory,
                    error.strerror or str(error),
                )
        return in_memory(first, MEMORY_PLACES)

    def _make_on_disk(self, place: SpoolPlace, first: int) -> Segment:
        """Raises ``OSError``."""
        size = SEGMENT_BYTES if self._segments else FIRST_SEGMENT_BYTES
        if self.file_bytes + size > MOST_BYTES:
            raise OSError(f"{MOST_BYTES >> 20} MiB of it wait for the database")
        try:
            place.prepare(size)
            segment = on_disk(place.directory, self.writer, first, size)
        except FileNotFoundError:  # another process has tidied up just now
            place.prepare(size)
            segment = on_disk(place.directory, self.writer, first, size)
        self._problems.over("spool")
        return segment

    @property
    def is_on_disk(self) -> bool:
        """Whether somebody finds all that it has when this process is gone."""
        return not self._gone[1] and all(each.path is not None for each in self._segments)

    @property
    def file_bytes(self) -> int:
        """The room that its files take."""
        return sum(segment.file_bytes for segment in list(self._segments))

    def take(self) -> Iterator[tuple[Key, Numbers]]:
        """What was appended since the last time, once each, in order.

        A place that is not yet written ends it, since a batch is everything up to a place; one
        that stays so is passed over.
        """
        self._let_go()
        for segment in list(self._segments):
            while self._taken < segment.last:
                before = self._taken
                yield from self._take_from(segment)
                if self._taken == before and not self._give_up_hole(segment):
                    return

    def _let_go(self) -> None:
        """Let go of the names in segments that were taken, and of the oldest such segments in
        memory past as many as are kept: what they hold is in the batches that their writer has,
        and nobody else could take them up."""
        taken = [
            each for each in self._segments if each is not self.segment and each.last <= self._taken
        ]
        for segment in taken:
            segment.let_names_go()
        in_memory = [segment for segment in taken if segment.path is None]
        for segment in in_memory[: max(0, len(in_memory) - MOST_IN_MEMORY)]:
            upto, calls = self._gone
            self._gone = (segment.last, calls + segment.calls_after(upto))
            self._segments.remove(segment)

    def _take_from(self, segment: Segment) -> Iterator[tuple[Key, Numbers]]:
        place = max(self._taken + 1, segment.first)
        if not segment.is_written(place):
            return
        for record in segment.records_from(place, _READ_AT_ONCE):
            if not record[-1]:
                return
            self._taken = place
            place += 1
            if record[0] > 0:
                yield segment.keys[record[0]], record[1:-1]

    def _give_up_hole(self, segment: Segment) -> bool:
        """Whether the place that comes next is passed over: those behind it are written."""
        place = self._taken + 1
        # Asked before every call of a budget: nearly always there is nothing.
        if segment is self.segment and not segment.is_begun_behind(place):
            self._hole = None
            return False
        now = time.monotonic()
        # Places are handed out in order: what is before one that has something was handed out by
        # now, and so many that were left unwritten are waited for as long as one.
        if self._hole is None or self._hole[0] < place:
            self._hole = (max(place, segment.begun_upto), now)
        if now - self._hole[1] < self.patience_seconds:
            return False
        self._taken = place
        return True

    def rows_after(self, mark: int, upto: int) -> Iterator[tuple[Key, Numbers]]:
        """What the places after ``mark`` hold, up to and with ``upto``, as far as it is there."""
        for segment in list(self._segments):
            if segment.last > mark:
                yield from segment.read_again(mark, upto)

    def forget(self, upto: int) -> None:
        """Everything up to this place is in the database, or lost and counted."""
        if self._gone[0] <= upto:
            self._gone = (0, 0)
        for segment in list(self._segments):
            if segment.last <= upto and segment is not self.segment:
                self._segments.remove(segment)
                segment.remove()
        if not self._segments and self._place is not None:
            self._place.tidy()

    def rotate(self) -> None:
        """Let what comes go to another file, so that those there are can be read to their end."""
        with later(), self._growing:
            self.segment.end()
            self.segment = in_memory(self.segment.after, 0)

    @property
    def is_drained(self) -> bool:
        """Whether everything was read, once no more comes."""
        return not self._segments or self._taken >= self._segments[-1].last

    def let_go_of_cut(self) -> int:
        """Read no more from files that were cut short under this process, and go on in another.

        Returns how many records were not read by then: those of calls that are lost.
        """
        lost = 0
        for segment in list(self._segments):
            if not segment.is_cut_short():
                continue
            if segment is self.segment:
                self.rotate()
            names = sum(self._taken < place <= segment.last for place in segment.name_places)
            lost += max(0, segment.last - self._taken - names)
            self._taken = max(self._taken, segment.last)
            self._segments.remove(segment)
            segment.remove()
        return lost

    def look_after(self, written: int) -> None:
        """See that the files are where they were made, and say that this process is alive, and
        what is lost with it. ``written`` is the last place that is in the database."""
        current = self.segment
        if not self._segments:
            return
        if not current.is_at_its_path() or (current.path is None and self._place is not None):
            self._leave(current)
        unspooled = self._gone[1] + sum(
            segment.calls_after(written)
            for segment in self._segments
            if segment.path is None or not segment.is_at_its_path()
        )
        for segment in self._segments:
            segment.touch()
            segment.note_unspooled(unspooled)

    def _leave(self, current: Segment) -> None:
        """Go on in a new file, if one can be made; what this segment has is read as ever."""
        if self._place is None:
            return
        with suppress(OSError):
            if self._go_on(current, partial(self._make_on_disk, self._place)) is not current:
                current.end()

    def close(self, is_written: bool) -> None:
        """Take no more. The files are removed if everything in them is in the database; else
        somebody will take them up."""
        with later(), self._growing:
            self.segment = in_memory(self.segment.after, 0)
            for segment in self._segments:
                if is_written:
                    segment.remove()
                else:
                    segment.leave()
            self._segments.clear()
            if self._place is not None and is_written:
                self._place.tidy()
