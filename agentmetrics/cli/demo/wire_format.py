"""The JSON of OpenAI's chat completions: whole, in chunks, and as errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from agentmetrics.cli.demo.cues import Refusal, Reply, Usage
from agentmetrics.cli.demo.script import served


def error(refusal: Refusal) -> dict[str, Any]:
    """The body of an error."""
    code = refusal.code
    return {"error": {"message": refusal.message, "type": code, "code": code}}


def completion(model: str, reply: Reply) -> dict[str, Any]:
    """A reply in one piece."""
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
    reason = "tool_calls" if reply.tool_calls else reply.finish
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {
        **_head(model, "chat.completion"),
        "choices": [choice],
        "usage": _usage(reply.usage),
    }


def chunks(model: str, reply: Reply) -> Iterator[dict[str, Any]]:
    """A reply as a stream without usage: the role, a word each, and last the finish reason."""
    head = _head(model, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**head, "choices": [choice], "usage": None}

    yield chunk({"role": "assistant", "content": ""})
    for word in reply.text.split(" "):
        yield chunk({"content": f"{word} "})
    yield chunk({}, reply.finish)


def usage_chunk(model: str, reply: Reply) -> dict[str, Any]:
    """The chunk that ends a stream for callers who ask for the usage."""
    head = _head(model, "chat.completion.chunk")
    return {**head, "choices": [], "usage": _usage(reply.usage)}


def _head(model: str, kind: str) -> dict[str, Any]:
    now = time.time()
    return {
        "id": f"chatcmpl-{int(now * 1e6)}",
        "object": kind,
        "created": int(now),
        "model": served(model),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    inputs = {"cached_tokens": usage.cached, "audio_tokens": usage.audio_in}
    outputs = {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_out}
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": outputs,
    }
