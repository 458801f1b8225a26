"""A server that speaks OpenAI's chat completions on a loopback port and keeps its own account."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agentmetrics.cli.demo import wire_format
from agentmetrics.cli.demo.cues import STALL_SECONDS, WRONG_KEY, Refusal, Reply, Usage
from agentmetrics.cli.demo.script import agent_of, answer

REVOKED_KEY = "revoked"
"""The API key with which the server lets nobody in."""

_START_SECONDS = 10.0
_SETTLE_SECONDS = 5.0


@dataclass
class Tally:
    """What the wire counted of one agent: requests, how they ended, and the tokens it billed."""

    calls: int = 0
    errors: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def bill(self, usage: Usage) -> None:
        self.input_tokens += usage.prompt
        self.output_tokens += usage.completion
        self.cached_tokens += usage.cached
        self.reasoning_tokens += usage.reasoning

    def leave(self, reply: Reply) -> None:
        """Count a caller who went away before the reply was there."""
        if reply.left == "errors":
            self.errors += 1
        else:
            self.cancelled += 1


class Wire:
    """The server's handlers and its own account of the traffic, by agent."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.url = ""
        self.stalled = threading.Event()
        """Set while a request waits for a caller that is expected to give up."""
        self.open = 0
        """Requests that are not answered yet."""

    async def settled(self) -> None:
        """Wait until the last caller who went away has been noticed."""
        for _ in range(int(_SETTLE_SECONDS / 0.01)):
            if not self.open:
                return
            await asyncio.sleep(0.01)

    @property
    def base_url(self) -> str:
        """Where OpenAI's API begins; Azure's begins at ``url``."""
        return f"{self.url}/v1"

    def app(self) -> Starlette:
        paths = (
            "/v1/chat/completions",
            "/openai/deployments/{deployment}/chat/completions",  # as Azure has it
        )
        return Starlette(
            routes=[Route(path, self._completions, methods=["POST"]) for path in paths]
        )

    async def _completions(self, request: Request) -> Response:
        body = await request.json()
        body["model"] = request.path_params.get("deployment") or body["model"]
        agent = agent_of(body["messages"])
        tally = self.tallies.setdefault(agent, Tally())
        tally.calls += 1
        self.open += 1
        found = answer(agent, tally.calls, body)
        if request.headers.get("authorization") == f"Bearer {REVOKED_KEY}":
            found = WRONG_KEY
        response = await self._respond(request, body, found, tally)
        if not isinstance(response, StreamingResponse):
            self.open -= 1
        return response

    async def _respond(
        self, request: Request, body: dict[str, Any], found: Reply | Refusal, tally: Tally
    ) -> Response:
        if isinstance(found, Refusal):
            tally.errors += 1
            return JSONResponse(wire_format.error(found), found.status)
        if await self._left_while(request, found):
            tally.leave(found)
            return Response(status_code=499)
        if body.get("stream"):
            chunks = self._chunks(body, found, tally)
            return StreamingResponse(chunks, media_type="text/event-stream")
        tally.bill(found.usage)
        return JSONResponse(wire_format.completion(body["model"], found))

    async def _left_while(self, request: Request, reply: Reply) -> bool:
        """Take the reply's time; whether the caller went away meanwhile."""
        stalls = reply.seconds >= STALL_SECONDS
        if stalls:
            self.stalled.set()
        try:
            await asyncio.wait_for(_gone(request), reply.seconds)
        except asyncio.TimeoutError:
            return False
        finally:
            if stalls:
                self.stalled.clear()
        return True

    async def _chunks(
        self, body: dict[str, Any], reply: Reply, tally: Tally
    ) -> AsyncIterator[bytes]:
        model, finished = body["model"], False
        try:
            for index, chunk in enumerate(wire_format.chunks(model, reply)):
                if index == reply.pause_at:
                    await asyncio.sleep(reply.pause)
                yield _event(chunk)
                await asyncio.sleep(reply.seconds_per_chunk)
            finished = True
            if (body.get("stream_options") or {}).get("include_usage"):
                tally.bill(reply.usage)
                yield _event(wire_format.usage_chunk(model, reply))
                await asyncio.sleep(reply.seconds_per_chunk)
            yield b"data: [DONE]\n\n"
        finally:
            if not finished:
                tally.leave(reply)
            self.open -= 1


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def _gone(request: Request) -> None:
    """Return when the caller has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@contextmanager
def serving() -> Iterator[Wire]:
    """A wire that listens on a free loopback port, from a thread of its own."""
    wire = Wire()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        wire.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(
                wire.app(),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_level="critical",
                # Longer than clients keep a connection: one that is closed as a request comes
                # would fail a call that is not in the account.
                timeout_keep_alive=120,
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(
            target=server.run, args=([listening],), name="demo-wire", daemon=True
        )
        thread.start()
        try:
            _wait_until_started(server)
            yield wire
        finally:
            server.should_exit = True
            thread.join()


def _wait_until_started(server: uvicorn.Server) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if time.monotonic() > deadline:
            raise RuntimeError("the demo's model server did not start")
        time.sleep(0.005)
