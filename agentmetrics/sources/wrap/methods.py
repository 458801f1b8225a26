"""Methods of a client's own objects, each call of which is a request: they stay what they are."""

from __future__ import annotations

import functools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any

from agentmetrics.recording.said import QuietLogger
from agentmetrics.sources.wrap.requests import Asked, Recording, Request

logger = QuietLogger("agentmetrics")

Read = Callable[..., "Asked | None"]
"""What a method asks for, by its arguments; ``None`` where that is nothing of a model."""
Take = Callable[[Request, Any], Any]
"""Gives what a request has returned to its call; returns it, or what is to be read in its place."""


def record(client: object, path: str, recording: Recording, read: Read, take: Take) -> None:
    """Let each call of a method of this one client be recorded; ``path`` is where it is below that.

    A method that is not there, as in another version of the SDK, is logged.
    """
    *above, name = path.split(".")
    holder: Any = client
    for attribute in above:
        holder = getattr(holder, attribute, None)
    method = getattr(holder, name, None)
    if callable(method):
        setattr(holder, name, recorded(method, recording, read, take))
    else:
        not_there(client, path)


def not_there(client: object, path: str) -> None:
    """Log that a client has not got a method that others of its class have."""
    cls = type(client)
    logger.warning(
        "%s.%s has no method %s in this version: calls of it are not recorded",
        cls.__module__,
        cls.__qualname__,
        path,
    )


def recorded(
    method: Callable[..., Any], recording: Recording, read: Read, take: Take
) -> Callable[..., Any]:
    """The method with a call for each request, of the same kind: a coroutine function stays one.

    That of a generator begins with its first step, as its request does.
    """

    begin = recording.begin
    wrapper: Callable[..., Any]
    if isasyncgenfunction(method):

        async def wrapper(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            request = begin(read, args, kwargs)
            events = method(*args, **kwargs)
            async for event in events if request is None else request.follow(events):
                yield event

    elif isgeneratorfunction(method):

        def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
            request = begin(read, args, kwargs)
            events = method(*args, **kwargs)
            yield from events if request is None else request.follow(events)

    elif iscoroutinefunction(method):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            request = begin(read, args, kwargs)
            if request is None:
                return await method(*args, **kwargs)
            try:
                result = await method(*args, **kwargs)
            except BaseException as error:
                request.end(error)
                raise
            try:
                return take(request, result)
            except Exception as error:  # an SDK of another shape: the program has its answer
                request.misread(error)
                return result

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            request = begin(read, args, kwargs)
            if request is None:
                return method(*args, **kwargs)
            try:
                result = method(*args, **kwargs)
            except BaseException as error:
                request.end(error)
                raise
            try:
                return take(request, result)
            except Exception as error:
                request.misread(error)
                return result

    return functools.update_wrapper(wrapper, method)


def whole(request: Request, result: Any) -> Any:
    """Take what is a whole answer."""
    request.answered(result)
    return result


def streamed(holds_events: str) -> Take:
    """Take an SDK's stream that keeps the iterator of its events in this attribute; else a whole
    answer.

    The stream stays the SDK's own object. It is over early when it is closed, or dropped.
    """

    def take(request: Request, result: Any) -> Any:
        events = getattr(result, holds_events, None)
        if events is None:
            return whole(request, result)
        setattr(result, holds_events, request.follow(events, result))
        _end_when_closed(request, result)
        return result

    return take


def _end_when_closed(request: Request, stream: Any) -> None:
    close, here = type(stream).close, weakref.ref(stream)  # it is not to hold itself
    closing: Callable[[], Any]
    if iscoroutinefunction(close):

        async def closing() -> None:
            request.close()
            await close(here())

    else:

        def closing() -> None:
            request.close()
            close(here())

    stream.close = closing
