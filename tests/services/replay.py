"""A provider that says a stream word for word, and notes when its first output left.

What it says is the provider's own wire, written down by a test: first what only announces, then,
after a pause that a client can act in, what carries output.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

PAUSE_SECONDS = 0.05
"""Between the announcements and the first output, so that who counts an announcement is caught."""


@dataclass
class Replay:
    """Where it is, what it says next, and when the first output of that went out."""

    url: str = ""
    media_type: str = "text/event-stream"
    announced: Sequence[bytes] = ()
    said: Sequence[bytes] = ()
    first_output_sent: list[float] = field(default_factory=list)
    """Readings of ``perf_counter``, one for each stream."""

    def script(self, media_type: str, announced: Sequence[bytes], said: Sequence[bytes]) -> None:
        self.media_type, self.announced, self.said = media_type, announced, said
        self.first_output_sent.clear()

    async def answer(self, request: Request) -> Response:
        await request.body()
        return StreamingResponse(self._say(), 200, {"connection": "close"}, self.media_type)

    async def _say(self) -> AsyncIterator[bytes]:
        for event in self.announced:
            yield event
        await asyncio.sleep(PAUSE_SECONDS)
        self.first_output_sent.append(perf_counter())
        for event in self.said:
            yield event


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    """The provider, on a free loopback port, in a thread; it answers every path."""
    replay = Replay()
    app = Starlette(routes=[Route("/{path:path}", replay.answer, methods=["POST"])])
    listening = socket.create_server(("127.0.0.1", 0))
    replay.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    config = uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield replay
    server.should_exit = True
    thread.join(timeout=10)
    assert not thread.is_alive(), "the provider did not stop"
