"""The ledger: the cost of every call, kept in a database, and queries on it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

from agentmetrics.budget.ledger.database import Database, DatabaseAway
from agentmetrics.budget.ledger.intake import Intake
from agentmetrics.budget.ledger.place import spool_place
from agentmetrics.budget.ledger.question import ask
from agentmetrics.budget.ledger.readings import Readings
from agentmetrics.budget.ledger.records import MOST
from agentmetrics.budget.ledger.reservations import Reservations
from agentmetrics.budget.ledger.spend import CallFilter, Spend
from agentmetrics.budget.ledger.summary import Summary, answer
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.budget.ledger.upkeep import Upkeep
from agentmetrics.budget.ledger.writer import Writer
from agentmetrics.budget.periods import Period, Span, unix_seconds, whole_buckets, zone_of
from agentmetrics.calls.facts import UNKNOWN, LLMCall
from agentmetrics.calls.outcome import SUCCESS
from agentmetrics.errors import ConfigurationError, LedgerUnavailable
from agentmetrics.meters.spend import SpendMeter
from agentmetrics.pipeline import Pipeline, pipeline_of
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.recording.fork import notice_fork
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.said import QuietLogger

if TYPE_CHECKING:
    from typing_extensions import Self

logger = QuietLogger("agentmetrics")

PRUNE_INTERVAL_SECONDS = 3600.0


class Ledger:
    """Calls, tokens and cost by quarter of an hour, agent, provider, model, status and extra label.

    ``url`` is ``sqlite:///spend.db`` for one machine or ``postgresql://user@host/database`` for
    many. Calls are taken from the recorders that it is attached to, and written every
    ``flush_interval_seconds`` and at the end of the program. Rows older than ``retention_days`` are
    deleted, ``timezone`` defines when days begin, and ``clock`` returns Unix time in seconds.

    A finished call is on disk before its end returns to the program: in a file of this process in
    ``spool_dir``, by default beside a SQLite file (``spend.db-spool``) or, for PostgreSQL, in a
    directory of this user among the temporary ones. What a process that died has left there, the
    next that opens the ledger writes.

    Creates its tables, or migrates them to the newest version. An unreachable database only causes
    a warning, since it may be back later. Raises ``ConfigurationError`` for any other problem with
    it, and ``ValueError`` for an unknown time zone.
    """

    def __init__(
        self,
        url: str,
        *,
        flush_interval_seconds: float = 5.0,
        retention_days: int | None = None,
        timezone: str = "UTC",
        spool_dir: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._zone = zone_of(timezone)
        self._clock = clock
        self._database = Database(url)
        self._url = url
        self._retention_seconds = None if retention_days is None else retention_days * 86_400
        self.upkeep = Upkeep()
        """What is done in the ledger's thread, after a write."""
        self.upkeep.add("retention", self._prune_old, PRUNE_INTERVAL_SECONDS)
        self._writer = Writer(
            self._database,
            spool_place(self._database.url, spool_dir),
            flush_interval_seconds=flush_interval_seconds,
            clock=clock,
            upkeep=self.upkeep,
        )
        self._readings = Readings(self._writer.database, clock, self._zone)
        self._readings.take_in(self.upkeep)
        self._heard: list[tuple[weakref.ref[Pipeline], Intake]] = []
        self._end = _End(self)
        try:
            self._database.prepare()
            self._writer.take_up()
        except DatabaseAway as error:
            self._writer.last_failure = str(error)
            logger.warning(
                "the ledger cannot be opened yet; calls are kept until it can: %s", error
            )
        except LedgerUnavailable as error:
            raise ConfigurationError(str(error)) from None

    def attach(self, recorder: Recorder) -> None:
        """Record every LLM call that ends at this recorder from now on.

        The recorder's extra labels are the ledger's dimensions. An answer from a cache does not
        count as a call. Raises ``RuntimeError`` when the ledger is closed.
        """
        pipeline = pipeline_of(recorder)
        intake = self._writer.intake(pipeline.extra_labels, pipeline.ledger)
        pipeline.meter(SpendMeter).show(self._readings.ratios, self._readings.today)
        if not any(known() is pipeline for known, _ in self._heard):
            pipeline.subscribe(intake.hear)
            self._heard.append((weakref.ref(pipeline), intake))
        close_at_exit(self._end)

    def take_over(self, earlier: Ledger) -> None:
        """Record from now on what another ledger does, which is closed afterwards: every call is
        in one of them, however many end just now."""
        earlier._end_abandoned()
        for known, before in earlier._heard:
            pipeline = known()
            if pipeline is not None:
                intake = Intake(self._writer, pipeline.extra_labels, self._clock)
                pipeline.exchange(before.hear, intake.hear)
                self._heard.append((known, intake))
        earlier._heard.clear()
        earlier._writer.leave_to(self._writer)

    def detach(self) -> None:
        """Record no more calls, from any recorder; calls abandoned by now are ended first."""
        self._end_abandoned()
        for known, intake in self._heard:
            pipeline = known()
            if pipeline is not None:
                pipeline.unsubscribe(intake.hear)
        self._heard.clear()

    def _end_abandoned(self) -> None:
        for known, _ in self._heard:
            pipeline = known()
            if pipeline is not None:
                pipeline.table.end_abandoned()

    def flush(self) -> None:
        """Write all finished calls now, and update the followed spends.

        Raises ``LedgerUnavailable``; what could not be written is kept for the next attempt.
        """
        notice_fork()
        self._writer.write()

    def catch_up(self) -> None:
        """Write what processes that died have left, and do what ``flush`` does.

        Raises ``LedgerUnavailable``.
        """
        notice_fork()
        self._writer.take_up()
        self._writer.write()

    @property
    def failure(self) -> str | None:
        """Why the last attempt to write failed, in one sentence; ``None`` if it succeeded."""
        return self._writer.failure

    def pending_rows(self) -> int:
        """The number of rows waiting to be written."""
        notice_fork()
        return self._writer.pending_rows()

    def summary(
        self,
        period: Period = "daily",
        by: Sequence[str] = ("agent_name",),
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        step: Period | None = None,
        only: Mapping[str, str | Sequence[str]] | None = None,
    ) -> Summary:
        """What was spent: in the current day, week or month, or from ``since`` until ``until``.

        ``by`` may contain ``agent_name`` (or ``agent``), ``provider``, ``model``, ``status`` and
        extra labels. ``step`` divides the time into days, weeks or months of which each is summed
        up, by default the ``period``. ``only`` limits the calls to those with these values of the
        ledger's own labels, such as ``{"agent": ["planner", "writer"], "model": "gpt-4o"}``; a
        model is meant by the name that was asked for or the one that served. Times without a time
        zone are in the ledger's. What this process has not yet written is written first, and what
        processes that died have left.

        Raises ``LedgerUnavailable``, and ``ValueError`` for invalid arguments.
        """
        question = ask(
            period, by, since, until, step=step, only=only, now=self._clock(), zone=self._zone
        )
        self.catch_up()
        with self._database.snapshot() as snapshot:
            return answer(question, snapshot)

    def follow(self, scope: Mapping[str, str], since: datetime, until: datetime) -> Spend:
        """The spend of a scope in a time range, kept current for as long as it is referenced.

        ``scope`` selects calls by ``agent_name``, ``provider``, ``model`` and extra labels. No I/O
        is done: until the next flush (see ``flush``), the spend covers only what this process has
        not yet written. From then on it covers the spend of all processes as of the last flush, and
        that of this process up to now.
        """
        notice_fork()
        span = Span(unix_seconds(since, self._zone), unix_seconds(until, self._zone))
        spend = Spend(CallFilter.of(scope), *whole_buckets(span), fold=self._writer.fold)
        self._writer.follow(spend)
        return spend

    def record_external(
        self,
        cost_usd: float,
        *,
        provider: str,
        model: str = "",
        agent_name: str = "",
        calls: int = 1,
        usage: Usage | None = None,
        at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Add spend that was counted elsewhere: of an invoice, of a program without metrics.

        It is ``cost_usd`` for so many ``calls`` together, at a time that defaults to now. It is in
        summaries and budgets like any other, and in no metric. ``labels`` are values of the
        ledger's dimensions; a time without a time zone is in the ledger's.

        Raises ``ValueError`` for a cost or a number of calls below 0, and for a time in the future;
        ``RuntimeError`` when the ledger is closed.
        """
        if not 0 <= cost_usd <= MOST // NANO:
            raise ValueError(
                f"cost_usd={cost_usd!r}: must be a number of at least 0, at most {MOST // NANO:g}"
            )
        if type(calls) is not int:
            raise ValueError(f"calls={calls!r}: must be a whole number")
        if calls < 0:
            raise ValueError(f"calls={calls!r}: must be at least 0")
        now = self._clock()
        then = now if at is None else unix_seconds(at, self._zone)
        if then > now:
            raise ValueError(f"at={at!r}: is in the future")
        notice_fork()
        names = tuple(labels or ())
        call = LLMCall(
            clean_label(agent_name) or UNKNOWN,
            clean_label(provider),
            clean_label(model) or UNKNOWN,
            0.0,
            extra=tuple(map(clean_label, (labels or {}).values())),
        )
        call.ended = perf_counter() - (now - then)
        call.status, call.usage, call.cost_usd = SUCCESS, usage, cost_usd
        self._writer.add_external(call, calls, names)

    def prune(self, before: datetime) -> int:
        """Delete every row that began before this time; returns the number of rows. Cannot be
        undone.

        Raises ``LedgerUnavailable``.
        """
        self._database.prepare()
        return self._database.prune(unix_seconds(before, self._zone))

    def claim(self, what: str, claimant: str) -> bool:
        """Whether nobody else has claimed ``what``: from now on, ``claimant`` has.

        A claim outlives its process, and is forgotten after 90 days at the earliest. Raises
        ``LedgerUnavailable``: it is unknown then whether there is a claim; asking again is safe.
        """
        notice_fork()
        with self._writer.database() as database:
            return database.claim(what, claimant)

    def cost_nano_usd(self, calls: CallFilter, span: Span) -> int:
        """What calls cost in a span of whole quarters of an hour, by all that is written.

        In 10⁻⁹ USD. Raises ``LedgerUnavailable``.
        """
        spend = Spend(calls, *span, fold=self._writer.fold)
        with self._writer.database() as database:
            return database.spent([spend])[0].nano_usd

    def reservations(self) -> Reservations:
        """What calls that are under way have reserved in its database, on another connection."""
        return Reservations(self._url, self._database.seen)

    def _prune_old(self) -> None:
        if self._retention_seconds is not None:
            with self._writer.database() as database:
                database.prune(int(self._clock()) - self._retention_seconds)

    def close(self) -> None:
        """Write what is left and stop; calls that end later are no longer recorded.

        Waits about ten seconds for an unreachable database. What it has not taken then stays in
        the spool; without one it is lost, which is logged, and counted in
        ``agentmetrics_ledger_calls_lost_total``.
        """
        skip_at_exit(self._end)
        self.detach()
        self._writer.close()
        self._readings.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _End:
    """The ledger at the end of a program: all is written and nothing is closed, since a thread may
    go on with its calls until the process is gone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def flush(self) -> None:
        self._ledger.flush()

    def close(self) -> None:
        self._ledger._end_abandoned()
        self._ledger._writer.finish()
