"""What a response says of its call: an SDK's object, plain data, a raw response, or a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentmetrics.providers.fields import first_of, held
from agentmetrics.providers.streams import StreamReader
from agentmetrics.providers.wrapped import unwrapped

_BATCH = "batch"


def read_response(reader: StreamReader, response: object) -> None:
    """Let ``reader`` read a response, or all events of a stream that were kept.

    What is no response of a known provider has nothing to say.
    """
    inner, is_of_batch, reader.headers = unwrapped(response)
    if is_of_batch:
        reader.service_tier = _BATCH
    if isinstance(inner, list | tuple):
        events = tuple(held(inner))
        if _is_one_stream(events):
            for event in events:
                reader.read(event)
    elif isinstance(inner, str | bytes | bytearray) or reader.knows(inner):
        reader.read(inner)
    else:
        reader.take(inner)


def _is_one_stream(events: Iterable[Any]) -> bool:
    """Whether all of them are of one response, as far as they say."""
    ids = {first_of(event, (("id",), ("response_id",), ("responseId",))) for event in events}
    return len(ids - {None, ""}) <= 1
