"""The queries of an engine, timed where its dialect gives them to the driver.

SQLAlchemy's events before and after a query cost several times what is recorded here: with a
listener on the engine, every connection and every query takes another way through SQLAlchemy. So
the methods of the dialect that these events surround are replaced on the dialect itself. What they
are called with is what is sent, whoever has rewritten it before; and who raises in them, for
whatever reason, ends the query.
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

EXECUTING: Final = ("do_execute", "do_executemany", "do_execute_no_params")
"""What an engine calls on its dialect for one statement, with a cursor and the statement first."""

Ask = Callable[..., Any]


class TimedQueries:
    """The queries of one engine, and of those made from it with other options.

    ``is_connecting`` says whether the pool is about to give a connection out: what SQLAlchemy then
    asks a new database about itself is no query of the program's.
    """

    def __init__(
        self,
        meter: Callable[[], DatabaseMeter],
        slow_seconds: float,
        is_connecting: Callable[[], bool],
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._meter, self._slow_seconds, self._failed = meter, slow_seconds, failed
        self._is_connecting = is_connecting
        self._timed: dict[str, Ask] = {}

    def begin(self, engine: Engine) -> None:
        """Time the queries of this engine."""
        own = vars(engine.dialect)
        for name in EXECUTING:
            own[name] = self._timed[name] = self._timing(getattr(engine.dialect, name))
        event.listen(engine, "handle_error", self._error)

    def end(self, engine: Engine) -> None:
        """Leave the engine as it was."""
        event.remove(engine, "handle_error", self._error)
        own = vars(engine.dialect)
        for name, timed in self._timed.items():
            if own.get(name) is timed:
                del own[name]
        self._timed.clear()  # where somebody else has replaced it since, it still calls ours

    def _timing(self, ask: Ask) -> Ask:
        is_connecting, ended, timed = self._is_connecting, self._ended, self._timed

        def execute(cursor: Any, statement: Any, *rest: Any, **named: Any) -> Any:
            if is_connecting() or not timed:
                return ask(cursor, statement, *rest, **named)
            began = perf_counter()
            try:
                done = ask(cursor, statement, *rest, **named)
            except BaseException as error:
                ended(statement, perf_counter() - began, error)
                raise
            ended(statement, perf_counter() - began, None)
            return done

        return execute

    def _ended(self, statement: object, seconds: float, error: BaseException | None) -> None:
        try:
            series = self._meter().of_operation[(operation_of(statement),)]
            series.ended(seconds, self._slow_seconds, is_error=isinstance(error, Exception))
        except Exception as problem:
            self._failed("db_query", problem)

    def _error(self, seen: ExceptionContext) -> None:
        """An error outside of the query itself: with a statement, it was one in it or before it."""
        try:
            if seen.statement is None and isinstance(seen.original_exception, Exception):
                if seen.execution_context is not None:
                    self._not_fetched(seen.execution_context)
                elif seen.connection is not None and not seen.connection.invalidated:
                    self._meter().not_sent[(TRANSACTION,)].count()  # it did not begin, or not end
        except Exception as problem:
            self._failed("db_error", problem)

    def _not_fetched(self, context: Any) -> None:
        """The query had ended, and its rows could not be had: an error, once."""
        if not getattr(context, "_agentmetrics_failed", False):
            context._agentmetrics_failed = True
            self._meter().of_operation[(operation_of(context.statement),)].failed()
