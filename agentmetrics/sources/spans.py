"""track_run and track_tool: agent runs and tool executions as blocks, and as decorators."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from agentmetrics.calls.facts import UNKNOWN
from agentmetrics.calls.table import OwnRunId
from agentmetrics.config.active import pipeline_for
from agentmetrics.recording.metric import class_name, clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.blocks import Block
from agentmetrics.sources.functions import Entry, recorded
from agentmetrics.sources.runs import OpenRun
from agentmetrics.sources.surroundings import tool_here

if TYPE_CHECKING:
    from typing_extensions import Self

F = TypeVar("F", bound=Callable[..., Any])


class _Span(Block):
    """A block that is recorded, and a decorator of functions each of whose calls is."""

    def __init__(self, begin: Callable[[], Entry]) -> None:
        self._begin = begin
        self._open: tuple[Entry, AbstractContextManager[None]] | None = None

    def __call__(self, function: F) -> F:
        """The function with each of its calls recorded; it may be plain or async, a generator or an
        async generator, and stays what it is.

        Raises ``TypeError`` for what is not a function.
        """
        name = type(self).__name__
        if isinstance(function, classmethod | staticmethod | property):
            kind = type(function).__name__
            raise TypeError(f"{name} cannot decorate a {kind}: write @{kind} above @{name}(…)")
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"{name} decorates functions, not a {class_name(function)}")
        return recorded(function, lambda *_, **__: self._begin())  # type: ignore[return-value]

    def __enter__(self) -> Self:
        if self._open is not None:
            raise RuntimeError(f"this {type(self).__name__} is entered already: make another one")
        entry = self._begin()
        inside = entry.inside()
        inside.__enter__()
        self._open = entry, inside
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open is not None:
            (entry, inside), self._open = self._open, None
            inside.__exit__(None, None, None)
            entry.left(error)


class track_run(_Span):  # noqa: N801 - used like contextlib's functions
    """Record a run of an agent that is no ``InstrumentedAgent``: as a block, or as a decorator.

    Use it with ``with`` or ``async with``, or write ``@track_run("reviewer")`` above a function,
    plain or async, or a generator. The run ends, once, when the block is left or the function is
    over: as a success, or with the status of the exception, which propagates. Calls and tools
    inside, those of LangChain included, are the agent's. A run may be inside of another.

    ``max_cost_usd`` is the most that the run may cost, agents inside of it included: once it has,
    further LLM calls raise ``BudgetExceeded``. ``recorder`` defaults to the configured one.
    """

    def __init__(
        self,
        agent_name: str,
        *,
        max_cost_usd: float | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__(lambda: OpenRun(agent_name, recorder, max_cost_usd))


class track_tool(_Span):  # noqa: N801 - used like contextlib's functions
    """Record an execution of a tool that is no tool of LangChain's: as a block, or as a decorator.

    It ends, once, when the block is left or the function is over: as a success, or with the status
    of the exception, which propagates. ``agent_name`` defaults to that of the enclosing agent,
    found as for ``track_call``, and ``recorder`` to the configured one.
    """

    def __init__(
        self, tool_name: str, *, agent_name: str | None = None, recorder: Recorder | None = None
    ) -> None:
        super().__init__(lambda: _OpenTool(tool_name, agent_name, recorder))


class _OpenTool:
    """A tool that is executed just now."""

    def __init__(self, tool_name: str, agent_name: str | None, recorder: Recorder | None) -> None:
        self._pipeline = pipeline_for(recorder)
        self._run_id = OwnRunId()
        self._fact = tool_here(
            self._pipeline, clean_label(agent_name) or None, clean_label(tool_name) or UNKNOWN
        )
        self._fact.started = perf_counter()
        self._pipeline.start(self._run_id, self._fact)

    def inside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def left(self, error: BaseException | None = None) -> None:
        if self._pipeline.table.take(self._run_id) is not None:
            self._pipeline.finish(self._fact, error)
