"""The ledger: what every call cost, kept in a database, and questions to it."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING

from agentmetrics.budget.ledger import summary as summaries
from agentmetrics.budget.ledger.database import Database, DatabaseAway
from agentmetrics.budget.ledger.intake import Intake
from agentmetrics.budget.ledger.spend import CallFilter, Spend
from agentmetrics.budget.ledger.summary import Summary
from agentmetrics.budget.ledger.writer import Writer
from agentmetrics.budget.periods import Period, Span, unix_seconds, whole_buckets, zone_of
from agentmetrics.errors import ConfigurationError, LedgerUnavailable
from agentmetrics.pipeline import Pipeline, pipeline_of
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.recording.recorder import Recorder

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("agentmetrics")


class Ledger:
    """Calls, tokens and cost by quarter of an hour, agent, provider, model, status and dimension.

    ``url`` is ``sqlite:///spend.db`` for one machine or ``postgresql://user@host/database`` for
    many. Calls are taken from the recorders that it is attached to and written every
    ``flush_interval_seconds`` and at the end of the program. ``retention_days`` deletes what is
    older, ``timezone`` says when days begin, ``clock`` gives Unix time in seconds.

    Makes its tables, or brings them to the newest version. A database that does not answer now
    is a warning, since it may later. Raises ``ConfigurationError`` for everything else that is
    wrong with it, and ``ValueError`` for a time zone that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        flush_interval_seconds: float = 5.0,
        retention_days: int | None = None,
        timezone: str = "UTC",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._zone = zone_of(timezone)
        self._clock = clock
        self._database = Database(url)
        self._writer = Writer(
            self._database,
            flush_interval_seconds=flush_interval_seconds,
            retention_seconds=None if retention_days is None else retention_days * 86_400,
            clock=clock,
        )
        self._heard: list[tuple[weakref.ref[Pipeline], Intake]] = []
        try:
            self._database.prepare()
        except DatabaseAway as error:
            self._writer.failure = str(error)
            logger.warning(
                "the ledger cannot be opened yet; calls are kept in memory until it can: %s", error
            )
        except LedgerUnavailable as error:
            raise ConfigurationError(str(error)) from None

    def attach(self, recorder: Recorder) -> None:
        """Take every LLM call that ends at this recorder from now on.

        Its extra labels are the ledger's dimensions. An answer from a cache is no call.
        Raises ``RuntimeError`` when the ledger is closed.
        """
        pipeline = pipeline_of(recorder)
        intake = self._writer.intake(pipeline.extra_labels, pipeline.ledger)
        pipeline.subscribe(intake.hear)
        self._heard.append((weakref.ref(pipeline), intake))
        close_at_exit(self)

    def detach(self) -> None:
        """Take no more calls, from any recorder; those that were abandoned by now end before."""
        for known, intake in self._heard:
            pipeline = known()
            if pipeline is not None:
                pipeline.table.end_abandoned()
                pipeline.unsubscribe(intake.hear)
        self._heard.clear()

    def flush(self) -> None:
        """Write what has ended, now; the followed spends are up to date then.

        Raises ``LedgerUnavailable``; what could not be written waits for the next time.
        """
        self._writer.write()

    @property
    def failure(self) -> str | None:
        """Why the last attempt to write failed, in one sentence; ``None`` when it did not."""
        return self._writer.failure

    def pending_rows(self) -> int:
        """How many rows wait to be written."""
        return self._writer.pending_rows()

    def summary(
        self,
        period: Period = "daily",
        by: Sequence[str] = ("agent_name",),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Summary:
        """What was spent: in this day, week or month, or from ``since`` until ``until``.

        ``by`` are ``agent_name`` (or ``agent``), ``provider``, ``model``, ``status`` and names of
        extra dimensions. Moments without a time zone are the ledger's. What this process has not
        written yet is written first.

        Raises ``LedgerUnavailable``, and ``ValueError`` for a question that makes no sense.
        """
        question = summaries.ask(period, by, since, until, now=self._clock(), zone=self._zone)
        self.flush()
        self._database.prepare()
        with self._database.snapshot() as snapshot:
            return summaries.answer(question, snapshot)

    def follow(self, scope: Mapping[str, str], since: datetime, until: datetime) -> Spend:
        """The spend of a scope in a span of time, kept current for as long as it is held.

        ``scope`` names the calls by ``agent_name``, ``provider``, ``model`` and extra labels.
        No I/O is done: until the next flush, which ``flush`` does at once, it is what of this
        process is not written yet. From then on it is all processes' spend as of the last flush
        and this process' as of now.
        """
        span = Span(unix_seconds(since, self._zone), unix_seconds(until, self._zone))
        spend = Spend(CallFilter.of(scope), *whole_buckets(span), fold=self._writer.fold)
        self._writer.follow(spend)
        return spend

    def prune(self, before: datetime) -> int:
        """Delete every row that began before this moment; returns how many. Cannot be undone.

        Raises ``LedgerUnavailable``.
        """
        self._database.prepare()
        return self._database.prune(unix_seconds(before, self._zone))

    def close(self) -> None:
        """Write what is left and end; calls that end later are not taken any more.

        Waits some ten seconds for a database that is away; calls that are lost then are logged,
        and counted in ``agentmetrics_ledger_calls_dropped_total``.
        """
        skip_at_exit(self)
        self.detach()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
