"""From ended calls to rows in the database: batches, each written once, off the hot path."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter

from agentmetrics.budget.ledger.database import Database, UnwritableError
from agentmetrics.budget.ledger.intake import Intake
from agentmetrics.budget.ledger.spend import Spend, Spent
from agentmetrics.budget.ledger.tally import Key, Row, Tally
from agentmetrics.budget.ledger.upkeep import Upkeep
from agentmetrics.calls.facts import LLMCall
from agentmetrics.errors import LedgerUnavailable
from agentmetrics.meters.ledger import LedgerMeter
from agentmetrics.recording.fork import LEDGERS, ForkAware, watch_forks
from agentmetrics.recording.periodic import PeriodicFlush

logger = logging.getLogger("agentmetrics")

FOLD_AT = 100
"""Ended calls that wait to be added up; the call that makes them so many does it. One by one they
cost a lock each, and a thousand of them no longer fit where memory is fast."""
LONGEST_PAUSE_SECONDS = 30.0
"""Between two attempts while the database is away."""
CLOSING_SECONDS = 10.0
"""How long the end of a program waits for a database that is away."""
CLOSING_PAUSE_SECONDS = 0.2
FORK_WAITS_SECONDS = 2.0
"""How long a fork waits for a write: SQLite's and libpq's own locks must not be held over it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are written together, under a number that makes them be counted once."""

    number: int
    rows: Mapping[Key, Row]

    @property
    def calls(self) -> int:
        return sum(row.calls for row in self.rows.values())


_CLOSED = "the ledger is closed and accepts no more calls"


class Writer(ForkAware):
    """Adds calls up in memory and writes them, a batch at a time.

    A batch that was tried once is tried again as it was until the database has it, since a lost
    answer does not say what became of it; what ends meanwhile is for the next batch.
    """

    def __init__(
        self,
        database: Database,
        *,
        flush_interval_seconds: float,
        clock: Callable[[], float],
        upkeep: Upkeep,
    ) -> None:
        self._database = database
        self._interval = flush_interval_seconds
        self._clock, self._upkeep = clock, upkeep
        self._intakes: list[Intake] = []
        self._meters: list[LedgerMeter] = []
        self._spends: weakref.WeakSet[Spend] = weakref.WeakSet()
        self._periodic: PeriodicFlush | None = None
        self._is_closed = False
        self.failure: str | None = None
        """What the last attempt to write said, if it failed."""
        self._begin_anew()
        self._held: list[threading.Lock | threading.RLock] = []
        watch_forks(self, LEDGERS)

    def _begin_anew(self) -> None:
        """As a writer with nothing to write; so does a forked child, whose parent has the rest."""
        self._folding = threading.RLock()
        self._writing = threading.Lock()
        self._pid = os.getpid()
        self._id = uuid.uuid4().hex
        self._number = 0
        self._tally = Tally(self._spends)
        self._batch: Batch | None = None
        self._failures = 0
        self._not_before = 0.0
        for intake in self._intakes:
            intake.forget()

    def intake(self, names: tuple[str, ...], meter: LedgerMeter) -> Intake:
        """A new way in, for calls whose extra dimensions have these names."""
        if self._is_closed:
            raise RuntimeError(_CLOSED)
        intake = Intake(self.begin, names)
        meter.begin(self.pending_rows)
        with self._folding:
            self._intakes.append(intake)
            self._meters.append(meter)
        return intake

    def begin(self) -> int:
        """Start the thread if there is none, add up what waits; at how many calls to do so again.

        Where somebody else is at it, it is left to the next call: no call waits for a lock.
        """
        if not self._folding.acquire(blocking=False):
            return 1
        try:
            self._ensure_thread()
            self.fold()
        finally:
            self._folding.release()
        return FOLD_AT

    def _ensure_thread(self) -> None:
        # Not before there is something to write or to ask: without budgets, a server that loads
        # the program and then forks has none.
        if self._periodic is not None or self._is_closed:
            return
        try:
            self._periodic = PeriodicFlush(self, self._interval)
        except RuntimeError:  # no more threads, as at the exit of a program: close() writes
            logger.warning(
                "the ledger thread could not be started; the ledger is written when it is closed"
            )

    def add_external(self, call: LLMCall, calls: int, names: tuple[str, ...]) -> None:
        """Add what so many calls were together, of which no recorder hears. No I/O.

        Raises ``RuntimeError`` when the ledger is closed.
        """
        if self._is_closed:
            raise RuntimeError(_CLOSED)
        with self._folding:
            self._ensure_thread()
            offset = self._clock() - perf_counter()
            self._tally.row_of(call, names, offset).add(call, calls)

    def fold(self) -> None:
        """Add up the calls that have ended. No I/O."""
        with self._folding:
            to_unix_seconds = self._clock() - perf_counter()
            for intake in self._intakes:
                self._tally.add(intake.drain(), intake.names, to_unix_seconds)

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
        self._notice_fork()
        self.fold()
        if time.monotonic() >= self._not_before:
            with suppress(LedgerUnavailable):  # counted and logged
                self.write()
                self._upkeep.run()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database with its tables; no fork happens meanwhile.

        Raises ``LedgerUnavailable``.
        """
        with self._writing:
            self._database.prepare()
            yield self._database

    def write(self) -> None:
        """Write everything that has ended, and ask what the followed spends are by now.

        Raises ``LedgerUnavailable``; nothing is lost by that.
        """
        with self._writing:
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
            self._failures, self._not_before, self.failure = 0, 0.0, None

    def _write_batches(self) -> None:
        if self._batch is not None:  # of an attempt that failed
            self._write_batch(self._batch)
        with self._folding:
            self.fold()
            if not self._tally.rows:
                return
            self._number += 1
            batch = self._batch = Batch(self._number, self._tally.rows)
            self._tally = Tally(self._spends)
        self._write_batch(batch)

    def _write_batch(self, batch: Batch) -> None:
        self._database.prepare()
        try:
            self._database.add(self._id, batch.number, batch.rows)
            self._tell(LedgerMeter.written)
        except UnwritableError as error:
            self._tell(LedgerMeter.failed)
            self._drop(batch.calls, str(error))
        with self._folding:
            self._batch = None

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
                "the ledger cannot be written to; calls are kept in memory until it is back: %s",
                error,
            )
        self._failures += 1
        self.failure = str(error)
        longest = min(LONGEST_PAUSE_SECONDS, self._interval * 2 ** min(self._failures, 10))
        self._not_before = time.monotonic() + random.uniform(longest / 2, longest)

    def _drop(self, calls: int, why: str) -> None:
        logger.error("the ledger %s lost %d calls: %s", self._database.shown, calls, why)
        self._tell(lambda meter: meter.dropped(calls))

    def _tell(self, what: Callable[[LedgerMeter], None]) -> None:
        for meter in self._meters:
            with suppress(Exception):  # a backend that fails is no reason to write anything twice
                what(meter)

    def close(self) -> None:
        """Write what is left, end the thread; calls that end later are not taken any more.

        Waits ten seconds or so for a database that is away; what is lost then is counted.
        """
        with self._folding:
            if self._is_closed:
                return
            self._is_closed = True
        if self._periodic is not None:
            self._periodic.stop()
        self._write_last()

    def _write_last(self) -> None:
        deadline = time.monotonic() + CLOSING_SECONDS
        why = "the previous write did not finish"
        while True:
            if self._writing.acquire(timeout=CLOSING_SECONDS):
                try:
                    self._write_batches()
                except LedgerUnavailable as error:
                    why = str(error)
                finally:
                    self._writing.release()
            waiting = self._pending_calls()
            if not waiting:
                return
            if time.monotonic() >= deadline:
                self._drop(waiting, why)
                return
            time.sleep(CLOSING_PAUSE_SECONDS)

    def _pending_calls(self) -> int:
        with self._folding:
            waiting = sum(row.calls for row in self._tally.rows.values())
            return waiting + (self._batch.calls if self._batch else 0)

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            self._begin_anew()

    def before_fork(self) -> None:
        locks = (self._writing, self._folding)
        self._held = [lock for lock in locks if lock.acquire(timeout=FORK_WAITS_SECONDS)]

    def after_fork_in_parent(self) -> None:
        while self._held:
            self._held.pop().release()

    def after_fork_in_child(self) -> None:
        self._held.clear()
        self._begin_anew()
