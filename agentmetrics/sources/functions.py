"""Functions of any kind as something that is entered and left: agent runs, tool executions.

What is around a generator is around it only while that is running: in between, its reader's own
calls are not the agent's.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Protocol

from agentmetrics.recording.collector import is_collecting

_MARK = "__agentmetrics__"


class Entry(Protocol):
    """One call of a function."""

    def inside(self) -> AbstractContextManager[None]:
        """A block in which a part of the function runs; there are several where it yields."""

    def left(self, error: BaseException | None = None) -> None:
        """The function is over, with this error or none."""


def is_recorded(function: object) -> bool:
    """Whether ``recorded`` made it."""
    return hasattr(function, _MARK)


def recorded(function: Callable[..., Any], enter: Callable[..., Entry]) -> Callable[..., Any]:
    """The function with an entry for each call, of the same kind: a coroutine function stays one.

    ``enter`` is called with the arguments of the call: of a generator at its first step.
    """
    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(function):

        @_async_stream
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return enter(*args, **kwargs), function(*args, **kwargs)

    elif inspect.isgeneratorfunction(function):

        def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return (yield from _stream(enter(*args, **kwargs), function(*args, **kwargs)))

    elif inspect.iscoroutinefunction(function):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await _awaited(enter(*args, **kwargs), function(*args, **kwargs))

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            entry = enter(*args, **kwargs)
            try:
                with entry.inside():
                    result = function(*args, **kwargs)
            except BaseException as error:
                entry.left(error)
                raise
            return _outlasting(entry, result)

    functools.update_wrapper(wrapper, function)
    setattr(wrapper, _MARK, True)
    return wrapper


def _outlasting(entry: Entry, result: Any) -> Any:
    """What a plain function returned: the entry lasts until that is over."""
    cls = type(result)  # not isinstance(), which asks the object
    if issubclass(cls, AsyncGeneratorType):
        return _async_stream(lambda: (entry, result))()
    if issubclass(cls, GeneratorType):
        return _stream(entry, result)
    if issubclass(cls, CoroutineType):
        return _awaited(entry, result)
    if not _goes_on(entry, result):
        entry.left()
    return result


def _goes_on(entry: Entry, result: Any) -> bool:
    """Whether it is a future, such as a task, which goes on by itself, whoever awaits it."""
    try:
        if asyncio.isfuture(result):
            result.add_done_callback(functools.partial(_left_by, entry))
            return True
    except Exception:  # somebody's own object
        pass
    return False


def _left_by(entry: Entry, future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        entry.left(asyncio.CancelledError())
    else:  # exception() would tell asyncio that somebody has seen to the error
        entry.left(getattr(future, "_exception", None))


async def _awaited(entry: Entry, result: Awaitable[Any]) -> Any:
    try:
        with entry.inside():
            value = await result
    except BaseException as error:
        entry.left(error)
        raise
    entry.left()
    return value


def _stream(entry: Entry, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
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
                with nullcontext() if is_collecting() else entry.inside():
                    generator.close()
                raise
            except BaseException as thrown:
                step = functools.partial(generator.throw, thrown)
    except BaseException as error:
        entry.left(error)
        raise


def _async_stream(
    begin: Callable[..., tuple[Entry, AsyncGenerator[Any, Any]]],
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
