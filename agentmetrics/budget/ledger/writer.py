"""From the spool to rows in the database: batches, each written once, off the hot path.

Longer than other modules: the attempts of the ledger's thread, of whoever flushes and of the end of
the program are one thing, since each has to know what became of the one before.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from agentmetrics.budget.ledger.database import Database, DatabaseAway
from agentmetrics.budget.ledger.intake import Intake
from agentmetrics.budget.ledger.leftovers import Leftovers, taken_up
from agentmetrics.budget.ledger.losses import Losses
from agentmetrics.budget.ledger.place import SpoolPlace
from agentmetrics.budget.ledger.segment import Segment
from agentmetrics.budget.ledger.spend import Spend
from agentmetrics.budget.ledger.spool import Spool
from agentmetrics.budget.ledger.sums import Batch, Followed, Sums
from agentmetrics.budget.ledger.turn import Turn
from agentmetrics.budget.ledger.upkeep import Upkeep
from agentmetrics.calls.facts import LLMCall
from agentmetrics.errors import LedgerUnavailable
from agentmetrics.meters.ledger import LedgerMeter
from agentmetrics.recording.fork import ForkAware, held_lock, notice_fork, watch_forks, within
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.said import QuietLogger, later
from agentmetrics.recording.watchdog import watchdog

logger = QuietLogger("agentmetrics")

LONGEST_PAUSE_SECONDS = 30.0
"""Between two attempts while the database is away."""
SILENT_SECONDS = 5.0
"""How long an attempt may take before it is said that the database does not answer."""
TURN_SECONDS = 20.0
"""How long one thread waits for another that is at the database, which has that long for a
write."""
CLOSING_SECONDS = 10.0
"""How long the end of a program waits for a database that is away: the disk of a container may not
outlive it."""
CLOSING_PAUSE_SECONDS = 0.2
DRAINING_SECONDS = 1.0
"""How long the end of a program waits for calls that are just being written to the spool."""
LEFTOVERS_SECONDS = 15.0
"""How often it is looked for what dead processes left."""


_CLOSED = "the ledger is closed and accepts no more calls"


class Writer(ForkAware):
    """Adds up what is in the spool and writes it, a batch at a time.

    A batch that was tried once is tried again as it was until the database has it, since a lost
    answer does not say what became of it; what ends meanwhile is for the next batch.
    """

    def __init__(
        self,
        database: Database,
        place: SpoolPlace | None,
        *,
        flush_interval_seconds: float,
        clock: Callable[[], float],
        upkeep: Upkeep,
    ) -> None:
        self._database, self._place = database, place
        self._interval = flush_interval_seconds
        self._clock, self._upkeep = clock, upkeep
        self._problems = LogOnce()
        self._losses = Losses(database.shown, self._problems)
        self._followed = Followed()
        self._periodic: PeriodicFlush | None = None
        self._is_closed = False
        self._closings = count()
        self.last_failure: str | None = None
        """What the last attempt to write said, if it failed."""
        self.last_success: float | None = None
        """When the last attempt to write succeeded, in Unix time."""
        self._writing = held_lock()
        self._heir: Writer | None = None
        self._begin_anew()
        watch_forks(self)
        if place is not None:
            upkeep.add("spools of dead processes", self.take_up, LEFTOVERS_SECONDS)

    def _begin_anew(self) -> None:
        """As a writer with nothing to write; so does a forked child, whose parent has the rest."""
        self._is_writing = False
        self._busy_since: float | None = None
        self._starting = Turn()
        self.spool = Spool(self._place, self._problems)
        self._sums = Sums(self.spool, self._followed)
        self._may_be_written = False
        """Whether an attempt to write the batch got as far as the database, which did not say what
        became of it."""
        self._failures = 0
        self._not_before = 0.0

    @property
    def failure(self) -> str | None:
        """Why the ledger is not to be relied on just now: the last attempt to write failed, or
        this one has had no answer for too long."""
        since = self._busy_since
        if since is not None and time.monotonic() > since + SILENT_SECONDS:
            return f"{self._database.shown!r}: it has not answered for {SILENT_SECONDS:g} s"
        return self.last_failure

    def intake(self, names: tuple[str, ...], meter: LedgerMeter) -> Intake:
        """A new way in, for calls whose extra dimensions have these names."""
        if self._is_closed:
            raise RuntimeError(_CLOSED)
        meter.begin(self.pending_rows, lambda: self.spool.file_bytes, lambda: self.last_success)
        self._losses.hear(meter)
        return Intake(self, names, self._clock)

    def grow(self, full: Segment) -> Segment | None:
        """The segment after a full one; ``None`` when the ledger is closed, and nobody's any more.

        With the first one the thread starts: without budgets, a server that loads the program and
        then forks has none.
        """
        if self._is_closed:
            return None if self._heir is None else self._heir.grow(full)
        self._ensure_thread()
        return self.spool.grow(full)

    def leave_to(self, heir: Writer) -> None:
        """Let ``heir`` have the calls that still come when this one is closed."""
        self._heir = heir

    def _ensure_thread(self) -> None:
        if self._periodic is None and not self._is_closed:
            self._starting.take(0.0, self._start_thread)

    def _start_thread(self) -> None:
        if self._periodic is not None:  # another thread was faster
            return
        try:
            self._periodic = PeriodicFlush(self, self._interval)
            watchdog.keep()  # the last write, at the end of the program, is to have an end as well
        except RuntimeError:  # no more threads, as at the exit of a program: close() writes
            logger.warning(
                "the ledger thread could not be started; the ledger is written when it is closed"
            )

    def add_external(self, call: LLMCall, calls: int, names: tuple[str, ...]) -> None:
        """Add what so many calls were together, of which no recorder hears.

        Raises ``RuntimeError`` when the ledger is closed.
        """
        if self._is_closed:
            raise RuntimeError(_CLOSED)
        Intake(self, names, self._clock).take(call, calls)

    def fold(self) -> None:
        """Add up the calls that have ended. No I/O, and no waiting to speak of."""
        self._sums.fold()

    def follow(self, spend: Spend) -> None:
        """Keep a spend current for as long as somebody holds it. No more waiting than ``fold``."""
        self._ensure_thread()  # others may spend, and a ledger come back, without a call here
        self._sums.follow(spend)

    def pending_rows(self) -> int:
        """How many rows wait to be written. No more waiting than ``fold``."""
        return self._sums.pending_rows()

    def flush(self) -> None:
        """What the thread does: write, unless the database was away a moment ago, and upkeep."""
        notice_fork()
        self.lose("torn", self._sums.let_go_of_cut())
        self.fold()
        self.spool.look_after(self._sums.written)
        if time.monotonic() >= self._not_before:
            with suppress(LedgerUnavailable):  # counted and logged
                self.write()
                self._upkeep.run()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database with its tables; no fork happens meanwhile.

        Raises ``LedgerUnavailable``.
        """
        with self._alone(TURN_SECONDS):
            self._database.prepare()
            yield self._database

    @contextmanager
    def _alone(self, seconds: float) -> Iterator[None]:
        """Let nobody else at the database, nor a fork happen.

        Raises ``LedgerUnavailable`` when that takes longer, and in a signal handler that
        interrupted just this. One that interrupted an addition waits for nobody, since who is at
        the database may wait for that.
        """
        seconds = 0.0 if self._sums.is_interrupted else seconds
        with later(), within(seconds, self._writing) as is_held:
            if not is_held:
                raise DatabaseAway(f"{self._database.shown!r}: another thread waits for its answer")
            if self._is_writing:
                raise LedgerUnavailable(
                    f"{self._database.shown!r}: this thread is writing to it already"
                )
            self._is_writing, self._busy_since = True, time.monotonic()
            try:
                yield
            finally:
                self._is_writing, self._busy_since = False, None

    def write(self) -> None:
        """Write everything that has ended, and ask what the followed spends are by now.

        Raises ``LedgerUnavailable``; nothing is lost by that.
        """
        with self._alone(TURN_SECONDS):
            try:
                self._write_batches()
                self._refresh()
            except LedgerUnavailable as error:
                self._failed(error)
                raise
            if self._failures:
                logger.warning(
                    "the ledger %s is back; pending calls have been written", self._database.shown
                )
            self._failures, self._not_before, self.last_failure = 0, 0.0, None

    def _write_batches(self) -> None:
        if self._sums.batch is not None:  # of an attempt that failed
            self._write_batch(self._sums.batch)
        batch = self._sums.next_batch()
        if batch is not None:
            self._write_batch(batch)

    def _write_batch(self, batch: Batch) -> None:
        self._database.prepare()
        self._database.was_reached = False
        try:
            added = self._database.add(self.spool.writer, batch.after, batch.upto, batch.rows)
        except LedgerUnavailable:
            self._may_be_written |= self._database.was_reached
            raise
        while added.mark < batch.upto:
            # It is not the database that had what was before, or somebody took this process for
            # dead: what is behind the mark is missing there.
            batch = self._sums.rest_of(batch, added.mark)
            added = self._database.add(self.spool.writer, added.mark, batch.upto, batch.rows)
        self._losses.tell(LedgerMeter.written)
        self.last_success = self._clock()
        self.lose("unwritable", added.refused_calls)
        self._sums.done(batch)
        self._may_be_written = False
        self.spool.forget(batch.upto)

    def take_up(self) -> None:
        """Write what dead processes left in their spools.

        Raises ``LedgerUnavailable``; what is left stays then where it is.
        """
        if self._place is None:
            return
        with self.database() as database:
            leftovers = Leftovers(self._place.directory, self._problems)
            found = leftovers.take_up(database, self.lose)
        if found:
            logger.warning("the ledger has taken up %s", taken_up(found))

    def _refresh(self) -> None:
        spends = list(self._followed.spends)
        if spends:
            self._database.prepare()
            self._sums.refresh(spends, self._database.spent(spends))

    def _failed(self, error: LedgerUnavailable) -> None:
        self._losses.tell(LedgerMeter.failed)
        if not self._failures:
            logger.warning(
                "the ledger cannot be written to; calls are kept until it is back: %s",
                error,
            )
        self._failures += 1
        self.last_failure = str(error)
        longest = min(LONGEST_PAUSE_SECONDS, self._interval * 2 ** min(self._failures, 10))
        self._not_before = time.monotonic() + random.uniform(longest / 2, longest)

    def refuse(self, calls: int) -> None:
        """Count calls with numbers that no database can hold; logged once."""
        self._losses.refuse(calls)

    def miss(self, calls: int) -> None:
        """Count calls that end when the ledger is closed; logged once."""
        self._losses.miss(calls)

    def lose(self, reason: str, calls: int) -> None:
        """Log and count calls that are lost, for one of the reasons of the catalogue."""
        self._losses.lose(reason, calls)

    def finish(self) -> None:
        """Write what is left, as the last that is done; ends the thread.

        A database that is away is waited for, for ten seconds or so. What it has not got then is
        in the spool, or lost and counted where that is in memory. So is what ends from now on:
        threads may go on until the process is gone.
        """
        self._finish()

    def close(self) -> None:
        """Write what is left, as ``finish``; calls that end later are not taken any more."""
        self._is_closed = True
        if next(self._closings):  # somebody else does, or has
            return
        self.spool.close(is_written=self._finish())

    def _finish(self) -> bool:
        """Whether everything that had ended is in the database, for all that is known."""
        deadline = time.monotonic() + CLOSING_SECONDS
        if self._periodic is not None:
            self._periodic.stop()
        waiting = self._write_last(deadline)
        is_drained = False
        if not waiting or not self.spool.is_on_disk:  # what has ended meanwhile
            self.spool.rotate()
            is_drained = self._drain()
            waiting = self._sums.waiting_calls() if waiting else self._write_last(deadline)
        if waiting:
            self._leave(waiting)
        else:
            self.spool.forget(self._sums.written)
        return is_drained and not waiting

    def _drain(self) -> bool:
        """Wait for threads that are just writing to the spool; whether all have.

        Who takes longer writes to a file that is left to the next process; in memory there is
        none, and everything behind that place would be lost with it.
        """
        deadline = time.monotonic() + DRAINING_SECONDS
        self.fold()
        while not self.spool.is_drained and time.monotonic() < deadline:
            time.sleep(0.001)
            self.fold()
        if not self.spool.is_on_disk:
            self.spool.patience_seconds = 0.0
            self.fold()
        return self.spool.is_drained

    def _write_last(self, deadline: float) -> int:
        """Write what is left; how many calls could not be until then, in monotonic time."""
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                with self._alone(left), self._database.in_time(left):
                    self._write_batches()
            except LedgerUnavailable as error:
                self.last_failure = str(error)
            waiting = self._sums.waiting_calls()
            if not waiting:
                return 0
            if time.monotonic() >= deadline:
                return waiting
            time.sleep(CLOSING_PAUSE_SECONDS)

    def _leave(self, calls: int) -> None:
        batch = self._sums.batch
        # Another thread's attempt may still be under way, which nobody waits for any longer.
        is_unknown = self._may_be_written or (self._is_writing and self._database.was_reached)
        unknown = batch.calls if batch is not None and is_unknown else 0
        if self._place is None or not self.spool.is_on_disk:
            self.lose("database_away", calls - unknown)
            self.lose("unanswered", unknown)
            return
        logger.warning(
            "the ledger cannot be written to; %d calls are kept in %s for the next process that "
            "opens it, which will know whether %d of them are written already: %s",
            calls,
            self._place.directory,
            unknown,
            self.failure or "the previous write did not finish",
        )

    def after_fork_in_child(self) -> None:
        self._begin_anew()
