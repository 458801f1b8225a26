"""The queries of an engine: timed from cursor to cursor by SQLAlchemy's own events.

When a query began stands on its execution context, which nobody else has: threads, tasks and
queries inside of others' events do not meet, and a query that never ends leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine, event

from agentmetrics_sqlalchemy.meter import DatabaseMeter
from agentmetrics_sqlalchemy.operations import TRANSACTION, operation_of

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext

ENDED: Final = 0.0
FAILED: Final = -1.0
"""In the place of when a query began: it has ended, and it has counted as an error."""


class TimedQueries:
    """The listeners of one engine. One query is one statement given to the driver's cursor."""

    def __init__(
        self,
        meter: Callable[[], DatabaseMeter],
        slow_seconds: float,
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._meter, self._slow_seconds, self._failed = meter, slow_seconds, failed

    def listen(self, engine: Engine) -> None:
        """Time the queries of this engine, and of those made from it with other options."""
        # With the result asked for, SQLAlchemy needs no function of its own around this one.
        event.listen(engine, "before_cursor_execute", self._before, retval=True)
        event.listen(engine, "after_cursor_execute", self._after, insert=True)
        event.listen(engine, "handle_error", self._error)

    def remove(self, engine: Engine) -> None:
        event.remove(engine, "before_cursor_execute", self._before)
        event.remove(engine, "after_cursor_execute", self._after)
        event.remove(engine, "handle_error", self._error)

    def _before(
        self,
        connection: object,
        cursor: object,
        statement: str,
        parameters: Any,
        context: Any,
        _: bool,
    ) -> tuple[str, Any]:
        if context is not None:
            context._agentmetrics_began = perf_counter()
        return statement, parameters

    def _after(
        self,
        connection: object,
        cursor: object,
        statement: str,
        parameters: Any,
        context: Any,
        _: bool,
    ) -> None:
        now = perf_counter()
        try:
            began = getattr(context, "_agentmetrics_began", ENDED)
            if began > ENDED:
                context._agentmetrics_began = ENDED
                series = self._meter().of_operation[(operation_of(statement),)]
                series.finished(now - began, self._slow_seconds)
        except Exception as error:
            self._failed("db_query", error)

    def _error(self, seen: ExceptionContext) -> None:
        now = perf_counter()
        try:
            if seen.execution_context is None:
                self._outside_of_queries(seen)
            else:
                self._of_query(seen, seen.execution_context, now)
        except Exception as error:
            self._failed("db_error", error)

    def _of_query(self, seen: ExceptionContext, context: Any, now: float) -> None:
        """A query failed or was cancelled; or it had ended, and its rows could not be fetched."""
        began = getattr(context, "_agentmetrics_began", None)
        if began is None:  # it began before anybody listened
            return
        series = self._meter().of_operation[(operation_of(seen.statement or context.statement),)]
        if began > ENDED:
            context._agentmetrics_began = ENDED
            series.finished(now - began, self._slow_seconds)
        if _is_error(seen) and began != FAILED:
            context._agentmetrics_began = FAILED
            series.failed()

    def _outside_of_queries(self, seen: ExceptionContext) -> None:
        """The begin or the end of a transaction failed: no cursor, so no statement and no time.

        With a statement, it could not be prepared and was never sent. Without a connection there
        was none to be had, which the pool has seen; nor is a ping that fails before a checkout a
        query of the program's.
        """
        connection = seen.connection
        if seen.statement is None and connection is not None and not connection.invalidated:
            if _is_error(seen):
                self._meter().not_sent[(TRANSACTION,)].count()


def _is_error(seen: ExceptionContext) -> bool:
    """Whether it failed, and was not cancelled: whoever asked did not want it any more."""
    return isinstance(seen.original_exception, Exception)
