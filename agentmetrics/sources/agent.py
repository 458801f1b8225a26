"""InstrumentedAgent: a mixin whose run, execute, invoke and stream methods are agent runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, ClassVar, cast

from agentmetrics.recording.collector import is_collecting
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.functions import is_recorded, recorded
from agentmetrics.sources.runs import OpenRun
from agentmetrics.sources.track import track_call

RUN_METHODS = ("run", "execute", "invoke", "stream", "arun", "aexecute", "ainvoke", "astream")


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


class _Entry:
    """A method that was entered: the run it belongs to, and the methods it was entered through."""

    def __init__(self, agent: InstrumentedAgent, method: Callable[..., Any]) -> None:
        self.agent = agent
        self.run: OpenRun
        self.methods: frozenset[Callable[..., Any]]
        around = None if is_collecting() else _entry_around.get()
        if (
            around is not None
            and around.agent is agent
            and not around.run.fact.ended
            and not around.run.fact.is_left
            and method not in around.methods
        ):
            self.run, self.methods, self._began = around.run, around.methods | {method}, False
        else:
            self.run, self.methods, self._began = _begun(agent), frozenset({method}), True

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Everything in the block belongs to the run."""
        if is_collecting():
            yield
            return
        with self.run.inside():
            token = _entry_around.set(self)
            try:
                yield
            finally:
                if not is_collecting():
                    with suppress(ValueError):  # thrown away in another context: it never saw this
                        _entry_around.reset(token)

    def left(self, error: BaseException | None = None) -> None:
        """The method is over, and with the one that began it the run."""
        if self._began:
            self.run.left(error)


def _begun(agent: InstrumentedAgent) -> OpenRun:
    return OpenRun(agent.agent_name, agent.recorder, agent.max_run_cost_usd)


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
    return inspect.isfunction(method) and not is_recorded(method)


def _instrumented(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method as an agent run."""

    def enter(self: Any, /, *args: Any, **kwargs: Any) -> _Entry:
        return _Entry(self, method)

    return recorded(method, enter)
