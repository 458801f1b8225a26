"""The response inside of what SDKs, HTTP clients, batches and frameworks put around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agentmetrics.providers.bedrock import HEADERS, INPUT_HEADER
from agentmetrics.providers.fields import Path, field, fields_of, first_of, parts_of
from agentmetrics.providers.lines import parsed

_LAYERS = 5
"""How many may be around a response: LlamaIndex, an SDK's raw response, an HTTP client's, its text,
a batch's line."""


class Unwrapped(NamedTuple):
    """A response, or the text of a stream; ``None`` for what was not read yet, which stays so.

    ``headers`` are those that it came with, where it is a raw one of an HTTP client.
    """

    response: Any
    is_of_batch: bool
    headers: Any = None


def unwrapped(response: object) -> Unwrapped:
    """The response inside of anything; nothing is requested, awaited or read from the network."""
    is_of_batch, headers = False, None
    for _ in range(_LAYERS):
        inner = _inside_of_http(response)
        if inner is response:
            inner = _inside_of_batch(response)
            is_of_batch |= inner is not response
        if inner is response:
            inner = _inside_of_framework(response)
        if inner is response:
            break
        headers = headers or _headers_of(response)
        response = inner
    return Unwrapped(response, is_of_batch, headers)


def _inside_of_http(response: Any) -> Any:
    if isinstance(response, str | bytes | bytearray):
        whole = parsed(response)
        return whole if isinstance(whole, dict | list) else response
    if isinstance(response, Mapping):
        return _with_body(response)
    http = getattr(response, "http_response", None)  # OpenAI's, Anthropic's, Groq's raw ones
    if http is not None:
        return http
    headers = getattr(response, "headers", None)
    if headers is None:
        return response
    if type(response).__module__.partition(".")[0] == "cohere":
        return response.data
    body = _body_that_was_read(response)
    if body is None:
        return None
    whole = parsed(body)
    if isinstance(whole, dict) and isinstance(headers, Mapping) and headers.get(INPUT_HEADER):
        return {**whole, HEADERS[0]: {HEADERS[1]: dict(fields_of(headers))}}
    return body if whole is None else whole


def _headers_of(response: object) -> Any:
    return None if isinstance(response, str | bytes | bytearray) else field(response, "headers")


def _with_body(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """What boto3 returns, with the body in it if that was read and put there."""
    # Not ``in``: what only says that it is a mapping may be looked through without end.
    body = None if response.get(HEADERS[0]) is None else response.get("body")
    if isinstance(body, str | bytes | bytearray):
        body = parsed(body)
    return {**body, HEADERS[0]: response[HEADERS[0]]} if isinstance(body, dict) else response


def _body_that_was_read(response: object) -> bytes | None:
    # Of httpx and requests, of aiohttp, urllib3: what they give in public may read it first.
    for where in ("_content", "_body"):
        body = getattr(response, where, None)
        if isinstance(body, bytes):
            return body
    return None


def _inside_of_batch(response: Any) -> Any:
    """One line of a batch's output.

    https://platform.openai.com/docs/api-reference/batch/request-output (and Mistral's),
    https://docs.anthropic.com/en/api/retrieving-message-batch-results,
    https://ai.google.dev/gemini-api/docs/batch-api,
    https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html
    """
    if any(field(response, mark) is not None for mark in ("custom_id", "key", "recordId")):
        found = first_of(response, _IN_BATCH)
        return response if found is None else found
    return response


_IN_BATCH: tuple[Path, ...] = (
    ("response", "body"),
    ("result", "message"),
    ("modelOutput",),
    ("response",),
    ("result",),
)


def _inside_of_framework(response: Any) -> Any:
    if type(response).__module__.partition(".")[0] == "pydantic_ai":
        return _of_pydantic_ai(response)
    if field(response, "usage") is None and field(response, "usage_metadata") is None:
        for where in ("raw", "_raw_response"):  # LlamaIndex, Instructor
            raw = field(response, where)
            if raw is not None:
                return raw
    return response


def _of_pydantic_ai(response: Any) -> Any:
    """A run's result, or a model's response; usage that nobody told is 0 in them."""
    usage = field(response, "usage")
    if callable(usage) and not hasattr(usage, "input_tokens"):  # before it was a property
        usage = usage()
    model = field(response, "response")  # a run's last
    if model is None:
        model = response
    return {
        "usage": usage if field(usage, "input_tokens") or field(usage, "output_tokens") else None,
        "model": field(model, "model_name"),
        "finish_reason": field(model, "finish_reason"),
        "tool_calls": any(
            field(part, "part_kind") == "tool-call" for part in parts_of(model, "parts")
        ),
    }
