"""What a process owes its ledger, added up: from the records of its spool to batches of rows."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentmetrics.budget.ledger.spend import Spend, Spent
from agentmetrics.budget.ledger.spool import Spool
from agentmetrics.budget.ledger.tally import Key, Row, Tally
from agentmetrics.budget.ledger.turn import Turn
from agentmetrics.errors import LedgerUnavailable

FOLD_WAITS_SECONDS = 0.2
"""How long an addition waits for another thread's, which takes milliseconds."""
WRITE_WAITS_SECONDS = 20.0
"""How long a write waits for it: what has piled up while the database was away takes longer."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are written together: all that the places behind ``after`` up to ``upto`` hold."""

    after: int
    upto: int
    rows: Mapping[Key, Row]

    @property
    def calls(self) -> int:
        return sum(row.calls for row in self.rows.values())


class Followed:
    """The spends that somebody holds, and those of them that are not yet kept current."""

    def __init__(self) -> None:
        self.spends: weakref.WeakSet[Spend] = weakref.WeakSet()
        self.new: deque[Spend] = deque()


class Sums:
    """Adds up what is in a spool, and gives it out a batch at a time.

    A batch that was given out stays as it is until it is ``done``; what ends meanwhile is for the
    next one. Spends are kept current by the way.
    """

    def __init__(self, spool: Spool, followed: Followed) -> None:
        self._spool, self._followed = spool, followed
        self._turn = Turn()
        self._tally = Tally(followed.spends)
        self.batch: Batch | None = None
        """What was given out and is not known to be written."""
        self.written = 0
        """The last place that is in the database."""

    @property
    def is_interrupted(self) -> bool:
        """Whether who asks has interrupted an addition, as a signal handler does."""
        return self._turn.is_own

    def fold(self) -> None:
        """Add up the calls that have ended. No I/O.

        Waits for a moment only, and not at all in the middle of an addition; what is not added up
        then is by the next one.
        """
        self._turn.take(FOLD_WAITS_SECONDS, self._add_up)

    def _add_up(self) -> None:
        try:
            while self._followed.new:
                self._begin(self._followed.new[0])
                self._followed.new.popleft()
            for key, amounts in self._spool.take():
                self._tally.add(key, amounts)
        except BaseException:  # such as Ctrl-C: nobody knows how far the last addition got
            self._add_up_anew()
            raise

    def _begin(self, spend: Spend) -> None:
        self._followed.spends.add(spend)
        self._tally.follow(spend)
        spend.begin(self._unwritten(spend))

    def _add_up_anew(self) -> None:
        """Everything that was taken and is in no batch, from the spool."""
        since = self.written if self.batch is None else self.batch.upto
        self._tally = Tally()
        for key, amounts in self._spool.rows_after(since, self._spool.taken):
            self._tally.add(key, amounts)
        self._tally.follow_all(self._followed.spends)

    def follow(self, spend: Spend) -> None:
        """Keep a spend current from the next addition on, which is this one if it can be."""
        self._followed.new.append(spend)
        self.fold()

    def _unwritten(self, spend: Spend) -> Spent:
        rows = [*self._tally.rows.values(), *(self.batch.rows.values() if self.batch else ())]
        of_spend = [row for row in rows if spend.covers(row.key)]
        return Spent(
            sum(row.cost_nano_usd for row in of_spend), sum(row.unpriced_calls for row in of_spend)
        )

    def refresh(self, spends: Sequence[Spend], written: Sequence[Spent]) -> None:
        """Begin anew with what the database has, to which nothing was written since it said so.

        Raises ``LedgerUnavailable`` when another thread's addition takes too long.
        """

        def refresh() -> None:
            self._add_up()
            for spend, known in zip(spends, written, strict=True):
                spend.refresh(known.plus(self._unwritten(spend)))

        self._take_to_write(refresh)

    def next_batch(self) -> Batch | None:
        """All that has ended and was not given out; ``None`` where that is nothing, and in the
        middle of an addition, of which nobody can tell how far it is.

        Raises ``LedgerUnavailable`` when another thread's takes too long.
        """
        given: list[Batch] = []

        def give_out() -> None:
            self._add_up()
            if self._tally.rows:
                self.batch = Batch(self.written, self._spool.taken, self._tally.rows)
                self._tally = Tally(self._followed.spends)
                given.append(self.batch)

        self._take_to_write(give_out)
        return given[0] if given else None

    def _take_to_write(self, work: Callable[[], object]) -> None:
        """Do ``work`` in a turn; not where this interrupts one."""
        if not self._turn.is_own and not self._turn.take(WRITE_WAITS_SECONDS, work):
            raise LedgerUnavailable("another thread is adding up calls, and does not get done")

    def rest_of(self, batch: Batch, mark: int) -> Batch:
        """That part of a batch which is behind a place."""
        tally = Tally()
        for key, amounts in self._spool.rows_after(mark, batch.upto):
            tally.add(key, amounts)
        return Batch(mark, batch.upto, tally.rows)

    def done(self, batch: Batch) -> None:
        """A batch is written."""
        # In this order: in between it is still in the batch, for whoever adds up anew.
        self.written = batch.upto
        self.batch = None

    def let_go_of_cut(self) -> int:
        """Go on in another file where somebody has cut one short; how many records were not read
        by then."""
        lost: list[int] = []
        self._turn.take(FOLD_WAITS_SECONDS, lambda: lost.append(self._spool.let_go_of_cut()))
        return sum(lost)

    def pending_rows(self) -> int:
        """How many rows wait to be written."""
        return sum(map(len, self._waiting()))

    def waiting_calls(self) -> int:
        """How many calls that have ended are not known to be written."""
        return sum(row.calls for rows in self._waiting() for row in list(rows.values()))

    def _waiting(self) -> list[Mapping[Key, Row]]:
        self.fold()
        rows, batch = self._tally.rows, self.batch
        # Those that are just being given out are in both.
        return [rows] if batch is None or batch.rows is rows else [rows, batch.rows]
