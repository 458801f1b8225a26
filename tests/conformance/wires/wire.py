"""What a wire is: its client, how its streams are framed, and what a response bills."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from tests.conformance.case import Bill, Case

NO_KEY = SecretStr("none")


@dataclass(frozen=True)
class Wire:
    """One provider's wire format.

    ``client`` makes the real LangChain model for a case, speaking to a URL. ``frame`` writes the
    events of a stream as the bytes of its body. ``bill`` reads the raw response alone: never
    what LangChain made of it.
    """

    client: Callable[[Case, str], Any]
    bill: Callable[[Case], Bill]
    frame: Callable[[Iterable[Any]], Iterator[bytes]]
    content_type: str = "text/event-stream"


def sse(events: Iterable[Any]) -> Iterator[bytes]:
    """Server-sent events, each the JSON of its data."""
    for event in events:
        yield f"data: {json.dumps(event)}\n\n".encode()


def sse_done(events: Iterable[Any]) -> Iterator[bytes]:
    """Server-sent events as OpenAI ends them."""
    yield from sse(events)
    yield b"data: [DONE]\n\n"


def named_sse(events: Iterable[Any]) -> Iterator[bytes]:
    """Server-sent events that are named by their own ``type``."""
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request",
    401: "authentication",
    402: "rate_limit",  # out of credit: what OpenAI calls insufficient_quota, with a 429
    403: "authentication",
    404: "invalid_request",
    408: "timeout",
    413: "invalid_request",
    422: "invalid_request",
    429: "rate_limit",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "timeout",
    529: "server_error",
}
"""What an HTTP status is, where the body does not say it better."""


def without_usage(provider: str, model: str, error_type: str) -> Bill:
    """The bill of a response that says nothing of tokens: an error's, or ``""`` for none."""
    status = "error" if error_type else "success"
    return Bill(provider, model, status=status, error_type=error_type)
