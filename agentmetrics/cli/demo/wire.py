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

from agentmetrics.cli.demo.script import Reply, Usage, agent_of, reply_to, served

_REFUSE_EVERY = 8  # the planner's first request of each eight gets a 429
_BREAK_EVERY = 9  # the writer's last request of each nine gets a 500
_STALL_SECONDS = 20.0
_START_SECONDS = 10.0


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


class Wire:
    """The server's handlers and its own account of the traffic, by agent."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.base_url = ""
        self.stalled = threading.Event()
        """Set while a request waits for a caller that is expected to give up."""
        self.open = 0
        """Requests that are not answered yet."""

    def app(self) -> Starlette:
        route = Route("/v1/chat/completions", self._completions, methods=["POST"])
        return Starlette(routes=[route])

    async def _completions(self, request: Request) -> Response:
        body = await request.json()
        agent = agent_of(body["messages"])
        tally = self.tallies.setdefault(agent, Tally())
        tally.calls += 1
        self.open += 1
        answer = await self._answer(request, body, agent, tally)
        if not isinstance(answer, StreamingResponse):
            self.open -= 1
        return answer

    async def _answer(
        self, request: Request, body: dict[str, Any], agent: str, tally: Tally
    ) -> Response:
        refused = _refusal(agent, tally.calls)
        if refused is not None:
            tally.errors += 1
            return refused
        reply = reply_to(body["messages"], body.get("tools", []))
        if await self._left_while(request, reply):
            tally.cancelled += 1
            return Response(status_code=499)
        if body.get("stream"):
            return StreamingResponse(
                self._chunks(body, reply, tally), media_type="text/event-stream"
            )
        tally.bill(reply.usage)
        return JSONResponse(_completion(body["model"], reply))

    async def _left_while(self, request: Request, reply: Reply) -> bool:
        """Take the reply's time; whether the caller went away meanwhile."""
        if reply.stalls:
            self.stalled.set()
        try:
            await asyncio.wait_for(
                _gone(request), _STALL_SECONDS if reply.stalls else reply.seconds
            )
        except asyncio.TimeoutError:
            return False
        finally:
            if reply.stalls:
                self.stalled.clear()
        return True

    async def _chunks(
        self, body: dict[str, Any], reply: Reply, tally: Tally
    ) -> AsyncIterator[bytes]:
        billed = False
        try:
            for chunk in _stream(body["model"], reply):
                if chunk["usage"]:
                    tally.bill(reply.usage)
                    billed = True
                yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
                await asyncio.sleep(reply.seconds_per_chunk)
            yield b"data: [DONE]\n\n"
        finally:
            tally.cancelled += not billed
            self.open -= 1


async def _gone(request: Request) -> None:
    """Return when the caller has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal(agent: str, number: int) -> Response | None:
    """The error that an agent's n-th request gets, as OpenAI words it; most get none."""
    if agent == "planner" and number % _REFUSE_EVERY == 1:
        message, code, status = "Rate limit reached for requests", "rate_limit_exceeded", 429
    elif agent == "writer" and number % _BREAK_EVERY == 0:
        message, code, status = "The server had an error", "server_error", 500
    else:
        return None
    return JSONResponse({"error": {"message": message, "type": code, "code": code}}, status)


def _head(model: str, kind: str) -> dict[str, Any]:
    now = time.time()
    return {
        "id": f"chatcmpl-{int(now * 1e6)}",
        "object": kind,
        "created": int(now),
        "model": served(model),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


def _completion(model: str, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": f"call_{time.time_ns()}_{index}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for index, (name, arguments) in enumerate(reply.tool_calls)
        ]
    reason = "tool_calls" if reply.tool_calls else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {
        **_head(model, "chat.completion"),
        "choices": [choice],
        "usage": _usage(reply.usage),
    }


def _stream(model: str, reply: Reply) -> Iterator[dict[str, Any]]:
    """A reply as chunks: the role, a word each, the finish reason, and last the usage."""
    head = _head(model, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**head, "choices": [choice], "usage": None}

    yield chunk({"role": "assistant", "content": ""})
    for word in reply.text.split(" "):
        yield chunk({"content": f"{word} "})
    yield chunk({}, "stop")
    yield {**head, "choices": [], "usage": _usage(reply.usage)}


@contextmanager
def serving() -> Iterator[Wire]:
    """A wire that listens on a free loopback port, from a thread of its own."""
    wire = Wire()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        wire.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        server = uvicorn.Server(
            uvicorn.Config(
                wire.app(),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_level="critical",
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
