"""The page in an aiohttp application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from agentmetrics.exposition.page.answers import (
    PATH,
    Answer,
    Page,
    Request,
    events_headers,
)
from agentmetrics.exposition.page.events import SLOW_SECONDS, events, in_thread, looked

if TYPE_CHECKING:
    from aiohttp import web

Asking = Callable[[Any], AbstractContextManager[None]]
"""Told of a connection, while it is answered."""


def add_page(application: web.Application, page: Page, asking: Asking) -> None:
    """Have an application serve the page, and end its streams before it shuts down."""
    from aiohttp import web

    streams: set[asyncio.Task[Any]] = set()

    def answered(found: Answer) -> web.Response:
        return web.Response(status=found.status, headers=found.headers, body=found.body)

    async def html(request: web.Request) -> web.StreamResponse:
        with asking(request.protocol):
            return answered(page.refusal(_request(request)) or page.html("events"))

    async def state(request: web.Request) -> web.StreamResponse:
        asked = _request(request)
        with asking(request.protocol):
            refused = page.refusal(asked)
            if refused is None:
                await looked(page.feed)
            return answered(refused or page.state(asked))

    async def runs(request: web.Request) -> web.StreamResponse:
        asked = _request(request)
        with asking(request.protocol):
            refused = page.refusal(asked)
            if refused is None:
                return answered(await in_thread(partial(page.runs, asked)))
            return answered(refused)

    async def stream(request: web.Request) -> web.StreamResponse:
        asked, who = _request(request), object()
        with asking(request.protocol):
            refused = page.refusal(asked)
            if refused is not None or not page.places.take(who):
                return answered(refused or page.full())
            response = web.StreamResponse(headers=events_headers())
            task = asyncio.current_task()
            assert task is not None
            streams.add(task)
            try:
                with suppress(OSError):  # the client has gone
                    await response.prepare(request)
                    await _write(page, asked, response, who, request)
            finally:
                streams.discard(task)
                page.places.leave(who)
            return response

    async def end_streams(application: web.Application) -> None:
        for task in streams:
            task.cancel()

    parts = {"": html, "/": html, "/state": state, "/runs": runs}
    for part, handler in parts.items():
        application.router.add_get(f"{PATH}{part}", handler)
    application.router.add_get(f"{PATH}/events", stream, allow_head=False)
    application.on_shutdown.append(end_streams)


def _request(request: web.Request) -> Request:
    raw = ((k.decode("latin-1"), v.decode("latin-1")) for k, v in request.raw_headers)
    return Request.of(request.method, request.rel_url.raw_query_string, raw)


async def _write(
    page: Page, asked: Request, response: web.StreamResponse, who: object, request: web.Request
) -> None:
    """Write event after event; a client that does not take one in time is dropped."""
    async with aclosing(events(page, asked)) as told:
        async for event in told:
            try:
                await asyncio.wait_for(response.write(event), SLOW_SECONDS)
            except asyncio.TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
                return
            if not page.places.take(who):
                return
