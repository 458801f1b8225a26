"""Cohere's SDK, both versions of its API."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from inspect import isasyncgenfunction, unwrap
from typing import Any

from agentmetrics.calls.context import bound
from agentmetrics.sources.wrap.methods import not_there, record
from agentmetrics.sources.wrap.requests import Asked, Recording, Request

CLASSES = ("Client", "AsyncClient")  # those of version 2 inherit from these
_METHODS = {"chat": True, "embed": False, "rerank": False}
"""What makes one request each, and whether that is for something to be said."""


def attach(client: Any, recording: Recording) -> None:
    """Record the requests of a Cohere client.

    What ``with_raw_response`` gives makes each of them; the client's own methods are made of these,
    and that for embeddings makes several at once in threads.
    """
    for raw in ("with_raw_response", "v2.with_raw_response"):
        for name, speaks in _METHODS.items():
            record(client, f"{raw}.{name}", recording, _reader(speaks), _take)
        _record_stream(client, raw, recording)
    executor = getattr(client, "_executor", None)
    if executor is not None:
        client._executor = _InContext(executor)


def _reader(speaks: bool) -> Callable[..., Asked]:
    def read(*_: object, **sent: Any) -> Asked:
        return Asked("cohere", sent.get("model"), sent, speaks)

    return read


_read_chat = _reader(speaks=True)


def _take(request: Request, result: Any) -> Any:
    request.answered(result.data)
    return result


def _record_stream(client: Any, raw: str, recording: Recording) -> None:
    """Record the streams, which are context managers here."""
    holder = functools.reduce(lambda at, name: getattr(at, name, None), raw.split("."), client)
    method = getattr(holder, "chat_stream", None)
    if method is None:
        not_there(client, f"{raw}.chat_stream")
        return

    @contextmanager
    def opened(*args: Any, **kwargs: Any) -> Iterator[Any]:
        request = recording.begin(_read_chat, args, kwargs)
        try:
            with method(*args, **kwargs) as response:
                yield _followed(request, response)
        except BaseException as error:
            _left(request, error)
            raise
        _left(request, None)

    @asynccontextmanager
    async def aopened(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        request = recording.begin(_read_chat, args, kwargs)
        try:
            async with method(*args, **kwargs) as response:
                yield _followed(request, response)
        except BaseException as error:
            _left(request, error)
            raise
        _left(request, None)

    kept = aopened if isasyncgenfunction(unwrap(method)) else opened
    holder.chat_stream = functools.update_wrapper(kept, method)


def _followed(request: Request | None, response: Any) -> Any:
    if request is not None:
        response._data = request.follow(response.data)
    return response


def _left(request: Request | None, error: BaseException | None) -> None:
    if request is not None:
        request.end(error)  # where there was no stream yet
        request.close()


class _InContext:
    """An executor whose work is done in the context of who asked for it."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def map(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._executor.map(bound(function), *args, **kwargs)
