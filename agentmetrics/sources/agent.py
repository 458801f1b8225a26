"""InstrumentedAgent: a mixin whose run, execute, invoke and stream methods are agent runs."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from time import perf_counter
from typing import Any, ClassVar, cast

from agentmetrics.budget.run_limits import hold_to_run_limits
from agentmetrics.calls.context import current_run
from agentmetrics.calls.facts import AgentRun
from agentmetrics.calls.table import OwnRunId
from agentmetrics.config.active import pipeline_for
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.around import AgentAround, agent_around
from agentmetrics.sources.surroundings import place_run
from agentmetrics.sources.track import track_call

RUN_METHODS = ("run", "execute", "invoke", "stream", "arun", "aexecute", "ainvoke", "astream")

_MARK = "__agentmetrics__"


class InstrumentedAgent:
    """Base class whose subclasses' methods in ``RUN_METHODS`` are runs of an agent.

    They may be plain or async functions, generators or async generators, on asyncio or trio.
    LangChain calls inside are attributed to the agent without passing callbacks. A method that
    calls another one of the same object, or ``super()``, forms one run with it; a method that calls
    itself begins another run. The run of a generator begins when it is first read. Calling
    ``super().__init__()`` is not required.
    """

    agent_name: ClassVar[str]
    """The ``agent_name`` label; the class name unless the subclass sets it."""
    # No annotations on these: a subclass that is a pydantic model, too, would make fields of them.
    recorder = cast("Recorder | None", None)
    """Where runs are recorded; ``None`` for the configured recorder."""
    max_run_cost_usd = cast("float | None", None)
    """The most that one run may cost, agents inside of it included: once it has, further LLM calls
    raise ``BudgetExceeded``. ``None`` for no limit."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "agent_name" not in cls.__dict__:
            cls.agent_name = cls.__name__
        for name in RUN_METHODS:
            method = inspect.getattr_static(cls, name, None)
            if _is_uncounted(method):
                own = name in cls.__dict__
                setattr(cls, name, _instrumented(method) if own else _Inherited(name))

    def track_call(
        self,
        provider: str,
        model: str,
        *,
        max_input_tokens: int | None = None,
        max_output_tokens: int | None = None,
    ) -> track_call:
        """``agentmetrics.track_call`` for a call that this agent makes."""
        return track_call(
            provider,
            model,
            agent_name=self.agent_name,
            recorder=self.recorder,
            max_input_tokens=max_input_tokens,
            max_output_tokens=max_output_tokens,
        )


class _Run:
    """An open run of one agent object."""

    def __init__(self, agent: InstrumentedAgent) -> None:
        self.agent = agent
        self._pipeline = pipeline_for(agent.recorder)
        self._run_id = OwnRunId()
        self.fact = AgentRun(clean_label(agent.agent_name), perf_counter())
        place_run(self._pipeline, self.fact)
        self.fact.max_cost_usd = agent.max_run_cost_usd
        if self.fact.max_cost_usd is not None:
            self._pipeline.guard(hold_to_run_limits)
        self.around = AgentAround(agent.recorder)
        self._pipeline.start(self._run_id, self.fact)

    def end(self, error: BaseException | None) -> None:
        if self._pipeline.table.take(self._run_id) is not None:
            self._pipeline.finish(self.fact, error)


class _Entry:
    """A method that was entered: the run it belongs to, and the methods it was entered through."""

    def __init__(self, agent: InstrumentedAgent, method: Callable[..., Any]) -> None:
        self.run: _Run
        self.methods: frozenset[Callable[..., Any]]
        around = _entry_around.get()
        if (
            around is not None
            and around.run.agent is agent
            and not around.run.fact.ended
            and method not in around.methods
        ):
            self.run, self.methods, self._began = around.run, around.methods | {method}, False
        else:
            self.run, self.methods, self._began = _Run(agent), frozenset({method}), True

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Everything in the block belongs to the run."""
        tokens = (
            current_run.set(self.run.fact),
            agent_around.set(self.run.around),
            _entry_around.set(self),
        )
        try:
            yield
        finally:
            with suppress(ValueError):  # thrown away in another context, which never saw these
                current_run.reset(tokens[0])
                agent_around.reset(tokens[1])
                _entry_around.reset(tokens[2])

    def left(self, error: BaseException | None = None) -> None:
        """The method is over, and with the one that began it the run."""
        if self._began:
            self.run.end(error)


_entry_around: ContextVar[_Entry | None] = ContextVar("agentmetrics_entry", default=None)


class _Inherited:
    """A run method of a base class, looked up each time: the one that Python would find next.

    A copy would come before what a later class, or a test's mock, puts in its place.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._instrumented = functools.lru_cache(_instrumented)

    def __get__(self, instance: object, owner: type) -> Any:
        # Not super(): a dataclass with slots is a second class with the same attributes.
        found = [vars(cls)[self._name] for cls in owner.__mro__ if self._name in vars(cls)]
        method = found[found.index(self) + 1]
        if _is_uncounted(method):
            method = self._instrumented(method)
        return method.__get__(instance, owner) if hasattr(type(method), "__get__") else method


def _is_uncounted(method: object) -> bool:
    return inspect.isfunction(method) and not hasattr(method, _MARK)


def _instrumented(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method as an agent run, of the same kind: a coroutine function stays one."""
    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(method):

        @_async_stream
        def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return _Entry(self, method), method(self, *args, **kwargs)

    elif inspect.isgeneratorfunction(method):

        def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return (yield from _stream(_Entry(self, method), method(self, *args, **kwargs)))

    elif inspect.iscoroutinefunction(method):

        async def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return await _awaited(_Entry(self, method), method(self, *args, **kwargs))

    else:

        def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            entry = _Entry(self, method)
            try:
                with entry.inside():
                    result = method(self, *args, **kwargs)
            except BaseException as error:
                entry.left(error)
                raise
            return _outlasting(entry, result)

    functools.update_wrapper(wrapper, method)
    setattr(wrapper, _MARK, True)
    return wrapper


def _outlasting(entry: _Entry, result: Any) -> Any:
    """What a plain function returned: the run lasts until that is over."""
    if inspect.isasyncgen(result):
        return _async_stream(lambda: (entry, result))()
    if inspect.isgenerator(result):
        return _stream(entry, result)
    if inspect.iscoroutine(result):
        return _awaited(entry, result)
    if asyncio.isfuture(result):  # a task, say: it goes on by itself, whoever awaits it
        result.add_done_callback(functools.partial(_left_by, entry))
    else:
        entry.left()
    return result


def _left_by(entry: _Entry, future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        entry.left(asyncio.CancelledError())
    else:  # exception() would tell asyncio that somebody has seen to the error
        entry.left(getattr(future, "_exception", None))


async def _awaited(entry: _Entry, result: Awaitable[Any]) -> Any:
    try:
        with entry.inside():
            value = await result
    except BaseException as error:
        entry.left(error)
        raise
    entry.left()
    return value


# The run is around a generator only while that is running: in between, its reader's own calls
# are not the agent's.


def _stream(entry: _Entry, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    step: Callable[[], Any] = functools.partial(next, generator)
    try:
        while True:
            try:
                with entry.inside():
                    item = step()
            except StopIteration as stop:
                entry.left()
                return stop.value
            try:
                step = functools.partial(generator.send, (yield item))
            except GeneratorExit:
                with entry.inside():
                    generator.close()
                raise
            except BaseException as thrown:
                step = functools.partial(generator.throw, thrown)
    except BaseException as error:
        entry.left(error)
        raise


def _async_stream(
    begin: Callable[..., tuple[_Entry, AsyncGenerator[Any, Any]]],
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """An async generator function, to ``inspect`` too; ``begin`` is called at the first step."""

    async def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        entry, generator = begin(*args, **kwargs)
        step: Callable[[], Awaitable[Any]] = functools.partial(generator.asend, None)
        try:
            while True:
                try:
                    with entry.inside():
                        item = await step()
                except StopAsyncIteration:
                    entry.left()
                    return
                try:
                    step = functools.partial(generator.asend, (yield item))
                except GeneratorExit:
                    with entry.inside():
                        await generator.aclose()
                    raise
                except BaseException as thrown:
                    step = functools.partial(generator.athrow, thrown)
        except BaseException as error:
            entry.left(error)
            raise

    return stream
