"""Anthropic's events, and those of its SDK's helper.

https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.providers.anthropic import usage_so_far
from agentmetrics.providers.deltas import has_output
from agentmetrics.providers.fields import field
from agentmetrics.providers.reading import Read, Reading


def _message_start(reading: Reading, event: object) -> bool:
    message = field(event, "message")
    reading.serve(message)
    reading.begun = field(message, "usage")
    if reading.begun is not None:
        reading.count({"usage": usage_so_far(reading.begun)})
    return False


def _message_delta(reading: Reading, event: object) -> bool:
    reading.stop(field(field(event, "delta"), "stop_reason"))
    block = field(event, "usage")
    if block is not None:
        reading.count({"usage": usage_so_far(reading.begun, block)})
    return False


def _block_start(reading: Reading, event: object) -> bool:
    block = field(event, "content_block")
    kind = field(block, "type")
    return (isinstance(kind, str) and kind.endswith("_use")) or has_output(block)


def _block_delta(reading: Reading, event: object) -> bool:
    delta = field(event, "delta")
    return bool(field(delta, "text")) or has_output(delta)


def _of_an_event(reading: Reading, event: object) -> bool:
    return has_output(event)


def _nothing(reading: Reading, event: object) -> bool:
    return False


BY_TYPE: Mapping[str, Read] = {
    "message_start": _message_start,
    "message_delta": _message_delta,
    "message_stop": _nothing,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
    "content_block_stop": _nothing,
    "ping": _nothing,
    # The helper's, beside the events that they are made of
    "text": _of_an_event,
    "thinking": _of_an_event,
}


def text_of(event: object) -> str | None:
    """The text in an event, as the helper's ``text_stream`` gives it; ``None`` in others."""
    if field(event, "type") != "content_block_delta":
        return None
    delta = field(event, "delta")
    return field(delta, "text") if field(delta, "type") == "text_delta" else None
