"""Cohere's events, of both versions of its API. https://docs.cohere.com/v2/docs/streaming"""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.providers.deltas import has_output
from agentmetrics.providers.fields import field
from agentmetrics.providers.reading import Read, Reading


def _start(reading: Reading, event: object) -> bool:
    return False


def _content(reading: Reading, event: object) -> bool:
    message = field(field(event, "delta"), "message")
    return has_output(field(message, "content"))


def _text(reading: Reading, event: object) -> bool:
    return has_output(event)


def _tool_call(reading: Reading, event: object) -> bool:
    reading.calls_tool = True
    return True


def _end(reading: Reading, event: object) -> bool:
    reading.take(field(event, "delta"))
    return False


def _end_of_version_1(reading: Reading, event: object) -> bool:
    reading.take(field(event, "response"))
    reading.stop(field(event, "finish_reason"))
    return False


BY_TYPE: Mapping[str, Read] = {
    "message-start": _start,
    "content-start": _content,
    "content-delta": _content,
    "tool-plan-delta": _text,
    "tool-call-start": _tool_call,
    "tool-call-delta": _tool_call,
    "message-end": _end,
    # https://docs.cohere.com/v1/reference/chat-stream
    "text-generation": _text,
    "tool-calls-chunk": _tool_call,
    "tool-calls-generation": _tool_call,
    "stream-end": _end_of_version_1,
}
