"""A provider on loopback that speaks OpenAI's and Anthropic's wire, and counts itself.

What it answers is scripted by the model that is asked for: ``wire.script("gpt-4o", Refusal(429),
Answer(reasoning=30))`` gives the next two calls of that model these answers; a call without a
script gets an ordinary answer. No two ordinary answers bill the same number of tokens. Whoever
makes a call may say in the header ``x-agent`` which agent it is for.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

AGENT_HEADER = "x-agent"
NO_KEY = SecretStr("none")
SERVED = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "o3-mini": "o3-mini-2025-01-31",
    "claude-opus-4-5": "claude-opus-4-5-20251101",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}
"""Providers answer with the dated name of the model that served."""

# The provider packages share one connection pool a process; a connection kept alive would outlast
# the event loop that it belongs to.
NO_KEEP_ALIVE = {"connection": "close"}

SUCCESS, ERROR, BROKEN, LEFT = "success", "error", "broken", "left"
TRUNCATED = "truncated"


@dataclass(frozen=True)
class Answer:
    """An answer and the tokens it bills; ``None`` for numbers that no other answer has.

    ``fresh`` are the input tokens that touched no cache. ``breaks`` cuts the connection after
    the first words of a stream, or in the middle of an answer; ``truncates`` ends a stream there
    as if it were whole; ``hangs`` says nothing more after them, or nothing at all when not
    streaming, until the client leaves.
    """

    text: str = "an answer of a few words"
    fresh: int | None = None
    output: int | None = None
    cache_read: int = 0
    cache_creation: int = 0
    cache_creation_1h: int = 0
    reasoning: int = 0
    service_tier: str = ""
    tools: tuple[tuple[str, dict[str, Any]], ...] = ()
    seconds: float = 0.0
    breaks: bool = False
    truncates: bool = False
    hangs: bool = False


@dataclass(frozen=True)
class Refusal:
    """An HTTP error; ``code`` and ``text`` are the provider's own."""

    status: int
    code: str = ""
    text: str = "no"


@dataclass(frozen=True)
class Call:
    """One call as the wire saw it: how it ended, and the usage block that went out.

    ``model`` is the one that was ``asked`` for, or the dated one that answered.
    """

    api: str
    agent: str
    asked: str
    model: str
    ended: str
    http_status: int
    usage: dict[str, Any] | None = None

    @property
    def input_tokens(self) -> int:
        """All input: Anthropic's own number leaves out what was read from or put into a cache."""
        usage = self.usage or {}
        if self.api == "openai":
            return int(usage.get("prompt_tokens", 0))
        return sum(
            int(usage.get(name, 0))
            for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        )

    @property
    def output_tokens(self) -> int:
        usage = self.usage or {}
        return int(usage.get("completion_tokens" if self.api == "openai" else "output_tokens", 0))

    @property
    def details(self) -> Counter[str]:
        usage = self.usage or {}
        if self.api == "openai":
            return +Counter(
                cache_read=usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
                reasoning=usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0),
            )
        return +Counter(
            cache_read=usage.get("cache_read_input_tokens", 0),
            cache_creation=usage.get("cache_creation_input_tokens", 0),
        )


@dataclass
class Wire:
    """The provider: where it is, what it was told to answer, and what it counted."""

    address: str = ""
    calls: list[Call] = field(default_factory=list)
    open: int = 0
    hanging: Counter[str] = field(default_factory=Counter)
    """Calls by agent that will get no further word from us."""
    _scripts: defaultdict[str, deque[Answer | Refusal]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    _always: dict[str, Answer | Refusal] = field(default_factory=dict)
    _ordinary: int = 0
    _test: int = 0

    @property
    def url(self) -> str:
        """Where the current test finds it.

        A request that an earlier test sent and left may arrive late; it is nobody's call then.
        What is sent to ``address`` counts always.
        """
        return f"{self.address}/{self._test}" if self._test else self.address

    def begin_test(self) -> None:
        """Count only what is sent to ``url`` from now on."""
        self._test += 1
        self.hanging.clear()

    def is_of_this_test(self, request: Request) -> bool:
        return request.path_params.get("test", self._test) == self._test

    def script(self, model: str, *answers: Answer | Refusal) -> None:
        """What the next calls of a model get, in this order."""
        self._scripts[model].extend(answers)

    def always(self, model: str, answer: Answer | Refusal) -> None:
        """What every call of a model gets that has no script, however many they are."""
        self._always[model] = answer

    def next_answer(self, model: str) -> Answer | Refusal:
        scripted = self._scripts[model]
        answer = scripted.popleft() if scripted else self._always.get(model, Answer())
        if isinstance(answer, Refusal):
            return answer
        self._ordinary += 1
        fresh = 100 + 3 * self._ordinary if answer.fresh is None else answer.fresh
        output = 20 + 7 * self._ordinary if answer.output is None else answer.output
        return Answer(**{**vars(answer), "fresh": fresh, "output": output})

    def count(self, **wanted: object) -> int:
        """Calls with these attributes."""
        return len(self.having(**wanted))

    def having(self, **wanted: object) -> list[Call]:
        return [
            call
            for call in list(self.calls)
            if all(getattr(call, name) == value for name, value in wanted.items())
        ]

    def forget(self) -> None:
        """Start counting anew; ``AssertionError`` when a scripted answer was never asked for."""
        left = {model: list(answers) for model, answers in self._scripts.items() if answers}
        self._scripts.clear()
        self._always.clear()
        self.calls.clear()
        assert not left, f"never asked for: {left}"

    def settled(self, seconds: float = 5.0) -> None:
        """Wait until no call is open: the wire notices a client that left a moment later."""
        deadline = time.monotonic() + seconds
        while self.open:
            assert time.monotonic() < deadline, f"{self.open} calls are still open at the wire"
            time.sleep(0.01)


class _CutError(Exception):
    """Ends a response in the middle: the server closes the connection."""


Chunks = Callable[[str, Answer, dict[str, Any]], Iterator[bytes]]


class _Api:
    """One provider's way of saying things."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.wire = wire
        self.name = name

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        if not self.wire.is_of_this_test(request):
            return Response(status_code=410)
        self.wire.open += 1
        agent, asked = request.headers.get(AGENT_HEADER, "unknown"), body["model"]
        answer = self.wire.next_answer(asked)
        if isinstance(answer, Refusal):
            self._count(agent, asked, asked, ERROR, answer.status)
            return JSONResponse(self.refusal(answer), answer.status, NO_KEEP_ALIVE)
        await asyncio.sleep(answer.seconds)
        served = SERVED.get(asked, asked)
        usage = self.usage(answer)
        if body.get("stream"):
            events = self._events(agent, asked, served, answer, usage, body)
            return StreamingResponse(events, 200, NO_KEEP_ALIVE, "text/event-stream")
        if answer.breaks:
            half = self._half(agent, asked, json.dumps(self.unary(served, answer, usage, body)))
            return StreamingResponse(half, 200, NO_KEEP_ALIVE, "application/json")
        if answer.hangs:
            self.wire.hanging[agent] += 1
            while not await request.is_disconnected():
                await asyncio.sleep(0.005)
            self.wire.hanging[agent] -= 1
            self._count(agent, asked, asked, LEFT, 0)
            return Response()
        self._count(agent, asked, served, SUCCESS, 200, usage)
        return JSONResponse(self.unary(served, answer, usage, body), 200, NO_KEEP_ALIVE)

    async def _half(self, agent: str, asked: str, text: str) -> AsyncIterator[bytes]:
        yield text[: len(text) // 2].encode()
        self._count(agent, asked, asked, BROKEN, 200)
        raise _CutError

    async def _events(
        self,
        agent: str,
        asked: str,
        served: str,
        answer: Answer,
        usage: dict[str, Any],
        body: dict[str, Any],
    ) -> AsyncIterator[bytes]:
        counted = False
        try:
            events = list(self.stream(served, answer, usage, body))
            *first, last = events
            for number, event in enumerate(first):
                if number == 4 and answer.breaks:
                    counted = True
                    self._count(agent, asked, asked, BROKEN, 200)
                    raise _CutError
                if number == 4 and answer.truncates:
                    counted = True
                    self._count(agent, asked, served, TRUNCATED, 200)
                    return
                if number == 4 and answer.hangs:
                    await self._silence(agent)
                yield event
                await asyncio.sleep(0)
            counted = True
            self._count(agent, asked, served, SUCCESS, 200, usage)
            yield last
        finally:
            if not counted:
                self._count(agent, asked, asked, LEFT, 0)

    async def _silence(self, agent: str) -> None:
        self.wire.hanging[agent] += 1
        try:
            await asyncio.sleep(60)
        finally:
            self.wire.hanging[agent] -= 1
        raise _CutError

    def _count(
        self,
        agent: str,
        asked: str,
        model: str,
        ended: str,
        status: int,
        usage: dict[str, Any] | None = None,
    ) -> None:
        self.wire.calls.append(Call(self.name, agent, asked, model, ended, status, usage))
        self.wire.open -= 1

    def refusal(self, refusal: Refusal) -> dict[str, Any]:
        raise NotImplementedError

    def usage(self, answer: Answer) -> dict[str, Any]:
        raise NotImplementedError

    def unary(
        self, model: str, answer: Answer, usage: dict[str, Any], body: dict[str, Any]
    ) -> dict[str, Any]:
        raise NotImplementedError

    def stream(
        self, model: str, answer: Answer, usage: dict[str, Any], body: dict[str, Any]
    ) -> Iterator[bytes]:
        raise NotImplementedError


def _words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")]


class _OpenAI(_Api):
    """https://platform.openai.com/docs/api-reference/chat"""

    def refusal(self, refusal: Refusal) -> dict[str, Any]:
        error = {"message": refusal.text, "type": "error", "param": None}
        return {"error": {**error, "code": refusal.code or None}}

    def usage(self, answer: Answer) -> dict[str, Any]:
        # prompt_tokens includes what was read from the cache.
        prompt, completion = (answer.fresh or 0) + answer.cache_read, answer.output or 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": answer.cache_read, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": answer.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def unary(
        self, model: str, answer: Answer, usage: dict[str, Any], body: dict[str, Any]
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tools:
            message |= {"content": None, "tool_calls": _openai_tools(answer)}
        reason = "tool_calls" if answer.tools else "stop"
        return {
            **_completion(model, "chat.completion", answer),
            "choices": [
                {"index": i, "message": message, "finish_reason": reason, "logprobs": None}
                for i in range(body.get("n") or 1)
            ],
            "usage": usage,
        }

    def stream(
        self, model: str, answer: Answer, usage: dict[str, Any], body: dict[str, Any]
    ) -> Iterator[bytes]:
        head = _completion(model, "chat.completion.chunk", answer)

        def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
            return _data({**head, "choices": [choice], "usage": None})

        yield chunk({"role": "assistant", "content": ""})
        if answer.tools:
            for i, tool in enumerate(_openai_tools(answer)):
                yield chunk({"tool_calls": [{"index": i, **tool}]})
        else:
            for word in _words(answer.text):
                yield chunk({"content": word})
        yield chunk({}, "tool_calls" if answer.tools else "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            yield _data({**head, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _completion(model: str, kind: str, answer: Answer) -> dict[str, Any]:
    tier = {"service_tier": answer.service_tier} if answer.service_tier else {}
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": model, **tier}


def _openai_tools(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for i, (name, arguments) in enumerate(answer.tools)
    ]


def _data(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


class _Anthropic(_Api):
    """https://docs.anthropic.com/en/api/messages"""

    def refusal(self, refusal: Refusal) -> dict[str, Any]:
        # https://docs.anthropic.com/en/api/errors
        kind = refusal.code or {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }.get(refusal.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": refusal.text}}

    def usage(self, answer: Answer) -> dict[str, Any]:
        return {
            "input_tokens": answer.fresh,  # without either kind of cache
            "cache_read_input_tokens": answer.cache_read,
            "cache_creation_input_tokens": answer.cache_creation + answer.cache_creation_1h,
            "cache_creation": {
                "ephemeral_5m_input_tokens": answer.cache_creation,
                "ephemeral_1h_input_tokens": answer.cache_creation_1h,
            },
            "output_tokens": answer.output,
            "service_tier": answer.service_tier or "standard",
        }

    def unary(
        self, model: str, answer: Answer, usage: dict[str, Any], body: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            **_message(model),
            "content": _anthropic_tools(answer) or [{"type": "text", "text": answer.text}],
            "stop_reason": "tool_use" if answer.tools else "end_turn",
            "usage": usage,
        }

    def stream(
        self, model: str, answer: Answer, usage: dict[str, Any], body: dict[str, Any]
    ) -> Iterator[bytes]:
        begun = {**_message(model), "content": [], "usage": {**usage, "output_tokens": 1}}
        yield _event("message_start", message=begun)
        blocks = _anthropic_tools(answer) or [{"type": "text", "text": ""}]
        for i, block in enumerate(blocks):
            opened = {**block, "input": {}} if answer.tools else block
            yield _event("content_block_start", index=i, content_block=opened)
            if answer.tools:
                partial = json.dumps(block["input"])
                delta = {"type": "input_json_delta", "partial_json": partial}
                yield _event("content_block_delta", index=i, delta=delta)
            else:
                for word in _words(answer.text):
                    delta = {"type": "text_delta", "text": word}
                    yield _event("content_block_delta", index=i, delta=delta)
            yield _event("content_block_stop", index=i)
        stopped = {"stop_reason": "tool_use" if answer.tools else "end_turn", "stop_sequence": None}
        total = {k: v for k, v in usage.items() if k not in ("cache_creation", "service_tier")}
        yield _event("message_delta", delta=stopped, usage=total)
        yield _event("message_stop")


def _message(model: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _anthropic_tools(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": arguments}
        for i, (name, arguments) in enumerate(answer.tools)
    ]


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """The address of ``app``, on a free loopback port, in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the wire did not stop"


@contextmanager
def running_wire() -> Iterator[Wire]:
    """The provider, on a free loopback port, in a thread."""
    wire = Wire()
    paths = {
        "/v1/chat/completions": _OpenAI(wire, "openai"),
        "/v1/messages": _Anthropic(wire, "anthropic"),
    }
    routes = [
        Route(f"{of_test}{path}", api.answer, methods=["POST"])
        for path, api in paths.items()
        for of_test in ("", "/{test:int}")
    ]
    app = Starlette(routes=routes)
    with serving(app) as wire.address:
        yield wire


@pytest.fixture(scope="session")
def _wire() -> Iterator[Wire]:
    with running_wire() as wire:
        yield wire


@pytest.fixture
def wire(_wire: Wire) -> Iterator[Wire]:
    """A provider that has counted nothing yet."""
    _wire.settled()
    with suppress(AssertionError):  # what a failed test left
        _wire.forget()
    _wire.begin_test()
    yield _wire
    _wire.forget()


@pytest.fixture(scope="module")
def own_wire() -> Iterator[Wire]:
    """A provider of one module's own, which goes on counting over its tests."""
    with running_wire() as wire:
        yield wire
