"""When the first token of a stream has come: with the first text, reasoning or tool call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OUTPUT = (
    "text",
    "content",
    "delta",
    "fields",
    "thinking",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "redacted_content",
    "summary",
    "refusal",
    "name",
    "args",
    "arguments",
    "input",
    "partial_json",
    "function",
    "function_call",
    "tool_calls",
    "executed_tools",
    "data",
    "base64",
    "url",
    "file_id",
    "image_url",
    "audio",
    "transcript",
    "value",
)
"""Where provider packages, LangChain's content blocks and its v3 events put what a model has
said. What else is in a block announces or describes: role, id, index, signature, status."""

_WHOLE = ("image", "audio", "video", "file", "server_tool_result", "non_standard")
"""Content blocks that v3 events announce without their payload and then give as a whole."""


def chunk_carries_output(token: object, chunk: object) -> bool:
    """Whether a chunk carries text, reasoning or a tool call.

    The first chunk of most providers has a role or an empty block and nothing else. ``token`` is
    what LangChain hands on beside the chunk, and for text LLMs often all there is.
    """
    if isinstance(token, str) and token:
        return True
    message = getattr(chunk, "message", None)
    if message is None:
        return carries_output(token)
    return (
        carries_output(getattr(message, "content", None))
        or carries_output(getattr(message, "tool_call_chunks", None))
        or carries_output(getattr(message, "additional_kwargs", None))
    )


def event_carries_output(event: Any) -> bool:
    """The same for an event of LangChain's v3 streaming protocol."""
    if event["event"] == "content-block-start" and event["content"].get("type") in _WHOLE:
        return True  # it came with the block's first chunk; the payload comes with the last
    return carries_output(event)


def carries_output(part: Any) -> bool:
    """Whether a content block, or any of a list of them, carries output."""
    if isinstance(part, Mapping):
        kind = part.get("type")
        if isinstance(kind, str) and kind.endswith("_call"):  # some have neither name nor text
            return True
        return any(carries_output(part.get(where)) for where in _OUTPUT)
    if isinstance(part, list | tuple):
        return any(map(carries_output, part))
    return bool(part)
