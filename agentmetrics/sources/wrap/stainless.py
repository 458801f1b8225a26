"""Clients that Stainless generates, of OpenAI, Anthropic and Groq: every request goes through one
method of theirs, which also retries it."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from inspect import iscoroutinefunction
from typing import Any

from pydantic import BaseModel

from agentmetrics.providers.fields import fields_of
from agentmetrics.providers.lines import parsed
from agentmetrics.sources.wrap.methods import record, streamed, whole
from agentmetrics.sources.wrap.requests import Asked, Recording, Request

_take_parsed = streamed("_iterator")


def record_requests(
    client: Any, recording: Recording, provider: str, paths: frozenset[str]
) -> None:
    """Record the requests to these paths, which are those that a model answers."""

    def read(cast_to: object, options: Any, *_: object, **__: object) -> Asked | None:
        if options.method != "post" or options.url.partition("?")[0] not in paths:
            return None
        sent = options.json_data
        if type(sent) is not dict and not isinstance(sent, Mapping):
            return Asked(provider, None)
        more = getattr(options, "extra_json", None)
        if more:
            sent = {**dict(fields_of(sent)), **dict(fields_of(more))}
        speaks = not options.url.endswith("/embeddings")
        return Asked(provider, sent.get("model"), sent, speaks)

    record(client, "request", recording, read, _take)


def _take(request: Request, result: Any) -> Any:
    if isinstance(result, BaseModel):
        return whole(request, result)
    http = getattr(result, "http_response", None)
    if http is None:
        return _take_parsed(request, result)
    # Of with_raw_response and with_streaming_response: the program reads it in a way of its own.
    if http.is_closed:
        request.answered(parsed(http.content))
    elif "event-stream" in _content_type(http):
        _read_along(http, request.follow, request.follow)
        _take_what_it_parses(request, result)
    else:
        body = _Body(request, keeps="json" in _content_type(http))
        _read_along(http, body.reading, body.areading)
    return result


def _content_type(http: Any) -> str:
    told = http.headers.get("content-type", "")
    return told if type(told) is str else ""  # one of the program's own may be searched without end


def _read_along(http: Any, read: Callable[[Any], Any], aread: Callable[[Any], Any]) -> None:
    """Pass what the program reads of a response that is not there yet through one of these.

    All ways to read it go through these two methods.
    """
    here, kind = weakref.ref(http), type(http)  # it is not to hold itself
    http.iter_bytes = lambda size=None: read(kind.iter_bytes(here(), size))
    http.aiter_bytes = lambda size=None: aread(kind.aiter_bytes(here(), size))


def _take_what_it_parses(request: Request, response: Any) -> None:
    """Follow the SDK's stream, if one is asked for: it stops reading before the bytes end."""
    here, parse = weakref.ref(response), type(response).parse
    parsing: Callable[..., Any]

    def taken(response: Any, stream: Any) -> Any:
        along = vars(response.http_response)
        if along.pop("iter_bytes", None) and along.pop("aiter_bytes", None):
            _take_parsed(request, stream)
        return stream

    if iscoroutinefunction(parse):

        async def parsing(*args: Any, **kwargs: Any) -> Any:
            response = here()
            return taken(response, await parse(response, *args, **kwargs))

    else:

        def parsing(*args: Any, **kwargs: Any) -> Any:
            response = here()
            return taken(response, parse(response, *args, **kwargs))

    response.parse = parsing


class _Body:
    """A response that arrives piece by piece, and is understood as a whole."""

    def __init__(self, request: Request, *, keeps: bool) -> None:
        self._request, self._keeps = request, keeps
        self._pieces: list[bytes] = []

    def reading(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                self._keep(piece)
                yield piece
        except BaseException as error:
            self._request.end(error)
            raise
        self._has_arrived()

    async def areading(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for piece in pieces:
                self._keep(piece)
                yield piece
        except BaseException as error:
            self._request.end(error)
            raise
        self._has_arrived()

    def _keep(self, piece: bytes) -> None:
        if self._keeps:
            self._pieces.append(piece)

    def _has_arrived(self) -> None:
        self._request.answered(parsed(b"".join(self._pieces)))
        self._pieces.clear()
