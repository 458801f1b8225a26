"""The page as an ASGI app, under whatever path it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import anyio

from agentmetrics.exposition.page.answers import (
    Answer,
    Page,
    Part,
    Request,
    events_headers,
)
from agentmetrics.exposition.page.events import SLOW_SECONDS, events, in_thread, looked

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def answer_page(page: Page, part: Part, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one HTTP request for a part of the page."""
    headers = ((k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"])
    request = Request.of(scope["method"], scope.get("query_string", b"").decode("latin-1"), headers)
    refused = page.refusal(request)
    if refused is not None:
        await _send(send, request, refused)
    elif part == "":
        await _send(send, request, page.html("events"))
    elif part == "state":
        await looked(page.feed)
        await _send(send, request, page.state(request))
    elif part == "runs":
        await _send(send, request, await in_thread(partial(page.runs, request)))
    else:
        await _stream(page, request, receive, send)


async def _send(send: Send, request: Request, answer: Answer) -> None:
    await send(_start(answer.status, answer.headers))
    body = b"" if request.method == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


def _start(status: int, headers: list[tuple[str, str]]) -> dict[str, Any]:
    encoded = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


async def _stream(page: Page, request: Request, receive: Receive, send: Send) -> None:
    who = object()
    if request.method == "HEAD":
        await _send(send, request, page.only_to_get())
        return
    if not page.places.take(who):
        await _send(send, request, page.full())
        return
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
            with suppress(OSError):  # as some servers tell that the client has gone
                await _send_events(page, request, send, who)
            tasks.cancel_scope.cancel()
    finally:
        page.places.leave(who)


async def _cancel_when_gone(receive: Receive, stream: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.cancel()


async def _send_events(page: Page, request: Request, send: Send, who: object) -> None:
    """Send event after event, none of which waits for longer than a slow client may take."""
    await send(_start(200, events_headers()))
    async with aclosing(events(page, request)) as told:
        async for event in told:
            with anyio.move_on_after(SLOW_SECONDS) as patience:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            if patience.cancelled_caught:
                return
            if not page.places.take(who):
                break
    with anyio.move_on_after(SLOW_SECONDS):
        await send({"type": "http.response.body", "body": b""})
