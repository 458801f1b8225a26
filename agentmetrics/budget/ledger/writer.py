"""From the spool to rows in the database: batches, each written once, off the hot path."""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from agentmetrics.budget.ledger.database import Database, DatabaseAway
from agentmetrics.budget.ledger.intake import Intake
from agentmetrics.budget.ledger.leftovers import Leftovers, taken_up
from agentmetrics.budget.ledger.place import SpoolPlace
from agentmetrics.budget.ledger.segment import Segment
from agentmetrics.budget.ledger.spend import Spend, Spent
from agentmetrics.budget.ledger.spool import Spool
from agentmetrics.budget.ledger.tally import Key, Row, Tally
from agentmetrics.budget.ledger.upkeep import Upkeep
from agentmetrics.calls.facts import LLMCall
from agentmetrics.errors import LedgerUnavailable
from agentmetrics.meters.ledger import LedgerMeter
from agentmetrics.recording.fork import ForkAware, held_lock, notice_fork, watch_forks
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
FOLD_WAITS_SECONDS = 0.2
"""How long an addition waits for another thread's, which takes milliseconds."""
DRAINING_SECONDS = 1.0
"""How long the end of a program waits for calls that are just being written to the spool."""
LEFTOVERS_SECONDS = 15.0
"""How often it is looked for what dead processes left."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are written together: all that the places behind ``after`` up to ``upto`` hold."""

    after: int
    upto: int
    rows: Mapping[Key, Row]

    @property
    def calls(self) -> int:
        return sum(row.calls for row in self.rows.values())


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
        self._meters: list[LedgerMeter] = []
        self._lost_before: dict[str, int] = {}
        self._spends: weakref.WeakSet[Spend] = weakref.WeakSet()
        self._periodic: PeriodicFlush | None = None
        self._is_closed = False
        self.last_failure: str | None = None
        """What the last attempt to write said, if it failed."""
        self.last_success: float | None = None
        """When the last attempt to write succeeded, in Unix time."""
        self._writing, self._folding = held_lock(), held_lock()
        self._heir: Writer | None = None
        self._begin_anew()
        watch_forks(self)
        if place is not None:
            upkeep.add("spools of dead processes", self.take_up, LEFTOVERS_SECONDS)

    def _begin_anew(self) -> None:
        """As a writer with nothing to write; so does a forked child, whose parent has the rest."""
        self._is_writing = self._is_adding = False
        self._busy_since: float | None = None
        self.spool = Spool(self._place, self._problems)
        self._written = 0
        self._tally = Tally(self._spends)
        self._batch: Batch | None = None
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
        self._meters.append(meter)
        while self._lost_before:  # before anybody could count it
            meter.lost(*self._lost_before.popitem())
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
        if self._periodic is not None or self._is_closed:
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
        """Add up the calls that have ended. No I/O.

        Waits for a moment only: who asks may hold a lock that a signal handler wants which has
        interrupted just this in another thread.
        """
        if not self._folding.acquire(timeout=FOLD_WAITS_SECONDS):
            return
        try:
            if self._is_adding:  # by a signal handler, in the middle of an addition
                return
            self._is_adding = True
            try:
                for key, amounts in self.spool.take():
                    self._tally.add(key, amounts)
            except BaseException:  # such as Ctrl-C: nobody knows how far the last addition got
                self._add_up_anew()
                raise
            finally:
                self._is_adding = False
        finally:
            self._folding.release()

    def _add_up_anew(self) -> None:
        """Everything that was taken and is in no batch, from the spool."""
        since = self._written if self._batch is None else self._batch.upto
        self._tally = Tally()
        for key, amounts in self.spool.rows_after(since, self.spool.taken):
            self._tally.add(key, amounts)
        for spend in self._spends:
            self._tally.follow(spend)

    def follow(self, spend: Spend) -> None:
        """Keep a spend current for as long as somebody holds it."""
        with self._folding:
            self._ensure_thread()  # others may spend, and a ledger come back, without a call here
            self.fold()
            self._spends.add(spend)
            self._tally.follow(spend)
            waiting = self._unwritten(spend)
            spend.add(waiting.nano_usd)
            spend.miss(waiting.unpriced_calls)

    def _unwritten(self, spend: Spend) -> Spent:
        rows = [*self._tally.rows.values(), *(self._batch.rows.values() if self._batch else ())]
        of_spend = [row for row in rows if spend.covers(row.key)]
        return Spent(
            sum(row.cost_nano_usd for row in of_spend), sum(row.unpriced_calls for row in of_spend)
        )

    def pending_rows(self) -> int:
        """How many rows wait to be written."""
        with self._folding:
            self.fold()
            return len(self._tally.rows) + (len(self._batch.rows) if self._batch else 0)

    def flush(self) -> None:
        """What the thread does: write, unless the database was away a moment ago, and upkeep."""
        notice_fork()
        with self._folding:
            self.lose("torn", self.spool.let_go_of_cut())
            self.fold()
        self.spool.look_after(self._written)
        if time.monotonic() >= self._not_before:
            with suppress(LedgerUnavailable):  # counted and logged
                self.write()
                self._upkeep.run()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database with its tables; no fork happens meanwhile.

        Raises ``LedgerUnavailable``.
        """
        with self._alone():
            self._database.prepare()
            yield self._database

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else at the database, nor a fork happen.

        Raises ``LedgerUnavailable`` when that takes too long, and in a signal handler that
        interrupted just this.
        """
        with later():
            if self._folding._is_owned():  # type: ignore[attr-defined]
                # By an addition that a signal handler has interrupted: who is at the database may
                # wait for the end of just that.
                raise LedgerUnavailable(
                    f"{self._database.shown!r}: this thread is in the middle of an addition"
                )
            if not self._writing.acquire(timeout=TURN_SECONDS):
                raise DatabaseAway(f"{self._database.shown!r}: another thread waits for its answer")
            try:
                if self._is_writing:
                    raise LedgerUnavailable(
                        f"{self._database.shown!r}: this thread is writing to it already"
                    )
                self._is_writing, self._busy_since = True, time.monotonic()
                try:
                    yield
                finally:
                    self._is_writing, self._busy_since = False, None
            finally:
                self._writing.release()

    def write(self) -> None:
        """Write everything that has ended, and ask what the followed spends are by now.

        Raises ``LedgerUnavailable``; nothing is lost by that.
        """
        with self._alone():
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
        if self._batch is not None:  # of an attempt that failed
            self._write_batch(self._batch)
        with self._folding:
            self.fold()
            # In a signal handler that has interrupted an addition, a call is taken and not added.
            if self._is_adding or not self._tally.rows:
                return
            batch = self._batch = Batch(self._written, self.spool.taken, self._tally.rows)
            self._tally = Tally(self._spends)
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
            batch = self._rest_of(batch, added.mark)
            added = self._database.add(self.spool.writer, added.mark, batch.upto, batch.rows)
        self._tell(LedgerMeter.written)
        self.last_success = self._clock()
        self.lose("unwritable", added.refused_calls)
        with self._folding:
            self._batch, self._may_be_written = None, False
            self._written = batch.upto
        self.spool.forget(batch.upto)

    def _rest_of(self, batch: Batch, mark: int) -> Batch:
        tally = Tally()
        for key, amounts in self.spool.rows_after(mark, batch.upto):
            tally.add(key, amounts)
        return Batch(mark, batch.upto, tally.rows)

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
        spends = list(self._spends)
        if not spends:
            return
        self._database.prepare()
        written = self._database.spent(spends)
        with self._folding:  # nothing was written since: all else is in memory
            self.fold()
            for spend, known in zip(spends, written, strict=True):
                spend.refresh(known.plus(self._unwritten(spend)))

    def _failed(self, error: LedgerUnavailable) -> None:
        self._tell(LedgerMeter.failed)
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
        self._problems.warn(
            "unwritable",
            "a call has numbers that the ledger cannot hold: it is lost",
        )
        self._count_lost("unwritable", calls)

    def miss(self, calls: int) -> None:
        """Count calls that end when the ledger is closed; logged once."""
        self._problems.warn("closed", "a call ended as its ledger was closed: it is lost")
        self._count_lost("closed", calls)

    def lose(self, reason: str, calls: int) -> None:
        """Log and count calls that are lost, for one of the reasons of the catalogue."""
        if not calls:
            return
        logger.error("the ledger %s lost %d calls: %s", self._database.shown, calls, reason)
        self._count_lost(reason, calls)

    def _count_lost(self, reason: str, calls: int) -> None:
        if not self._meters:
            self._lost_before[reason] = self._lost_before.get(reason, 0) + calls
        self._tell(lambda meter: meter.lost(reason, calls))

    def _tell(self, what: Callable[[LedgerMeter], None]) -> None:
        for meter in self._meters:
            with suppress(Exception):  # a backend that fails is no reason to write anything twice
                what(meter)

    def finish(self) -> None:
        """Write what is left, as the last that is done; ends the thread.

        A database that is away is waited for, for ten seconds or so. What it has not got then is
        in the spool, or lost and counted where that is in memory. So is what ends from now on:
        threads may go on until the process is gone.
        """
        self._finish()

    def close(self) -> None:
        """Write what is left, as ``finish``; calls that end later are not taken any more."""
        with self._folding:
            if self._is_closed:
                return
            self._is_closed = True
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
            waiting = self._waiting_calls() if waiting else self._write_last(deadline)
        if waiting:
            self._leave(waiting)
        else:
            self.spool.forget(self._written)
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
            if self._writing.acquire(timeout=left):
                try:
                    with self._alone(), self._database.in_time(left):
                        self._write_batches()
                except LedgerUnavailable as error:
                    self.last_failure = str(error)
                finally:
                    self._writing.release()
            waiting = self._waiting_calls()
            if not waiting:
                return 0
            if time.monotonic() >= deadline:
                return waiting
            time.sleep(CLOSING_PAUSE_SECONDS)

    def _leave(self, calls: int) -> None:
        unknown = self._batch.calls if self._batch and self._may_be_written else 0
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

    def _waiting_calls(self) -> int:
        with self._folding:
            self.fold()
            return self._tally.calls + (self._batch.calls if self._batch else 0)

    def after_fork_in_child(self) -> None:
        self._begin_anew()
