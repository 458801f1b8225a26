"""The stream of events: one a second to each who looks, in whatever event loop."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from agentmetrics.exposition.page.answers import Page, Request
from agentmetrics.exposition.page.feed import Feed

T = TypeVar("T")

SLOW_SECONDS = 10.0
"""Until a client must have taken an event; a slower one is dropped."""
STREAM_SECONDS = 300.0
"""How long a stream is; a browser then asks for the next one, with the event that it has last."""
_ALIVE_SECONDS = 3.0
"""After which a stream that has nothing to tell says that it is there: samples may be rare."""
_LOOKS_SECONDS = 0.25
"""How often a stream sees whether its server is about to end."""

_limiter: RunVar[CapacityLimiter] = RunVar("agentmetrics_page")


async def events(page: Page, request: Request) -> AsyncGenerator[bytes, None]:
    """The events from what the client has last on. Whoever reads has taken a place for it."""
    yield b"retry: 1000\n\n"
    last, spoke = request.last, time.monotonic()
    until = spoke + STREAM_SECONDS
    while time.monotonic() < until and not _is_ending():
        await looked(page.feed)
        told = page.feed.since(last)
        if told.last != last:
            last, spoke = told.last, time.monotonic()
            yield b"id: %s\ndata: %s\n\n" % (last.encode(), told.body)
        elif time.monotonic() - spoke > _ALIVE_SECONDS:
            spoke = time.monotonic()
            yield b"event: alive\ndata:\n\n"
        await anyio.sleep(min(_LOOKS_SECONDS, max(0.01, page.feed.due_in())))


async def looked(feed: Feed) -> None:
    """Have the feed take a sample if one is due, in a thread: a big one stops no event loop."""
    if feed.due_in() <= 0:  # one thread is enough: who is second finds it done
        await in_thread(feed.look)


async def in_thread(take: Callable[[], T]) -> T:
    """What ``take`` gives, called in the one thread that this event loop has for it."""
    return await to_thread.run_sync(take, limiter=_one_thread())


def _one_thread() -> CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        made = CapacityLimiter(1)
        _limiter.set(made)
        return made


def _is_ending() -> bool:
    """Whether uvicorn has been told to end: it waits for every stream, and tells none of them.

    The handler of the signals is a method of its server, whoever it runs under.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        server = getattr(signal.getsignal(number), "__self__", None)
        if getattr(server, "should_exit", False) is True:
            return True
    return False
