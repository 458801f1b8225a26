"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.wire import ERROR_TYPES, NO_KEY, Wire, named_sse, without_usage

PROVIDER = "anthropic"
# https://docs.anthropic.com/en/api/errors
_ERROR_TYPES: Mapping[str, str] = {
    "api_error": "server_error",
    "overloaded_error": "server_error",
    "rate_limit_error": "rate_limit",
    "timeout_error": "timeout",
}
_TOO_LONG = "prompt is too long"


def _client(case: Case, url: str) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(
        model_name=case.model, base_url=url, api_key=NO_KEY, max_retries=0, **case.options
    )


def _bill(case: Case) -> Bill:
    # https://docs.anthropic.com/en/api/messages: input_tokens leaves out both kinds of cache;
    # in a stream message_delta's counts are cumulative and stand for message_start's, whose
    # count of output is only of what was there when it was sent.
    error = _error_type(case)
    if case.failed:
        return without_usage(PROVIDER, case.model, error)
    if case.streamed:
        message = next(e["message"] for e in case.events if e["type"] == "message_start")
        deltas = [e["usage"] for e in case.events if e["type"] == "message_delta"]
        usage = {**message["usage"], "output_tokens": None, **(deltas[-1] if deltas else {})}
    else:
        message, usage = case.body, case.body["usage"]
    parts = list(_billed(usage))
    read = sum(part.get("cache_read_input_tokens") or 0 for part in parts)
    created = sum(part.get("cache_creation_input_tokens") or 0 for part in parts)
    known = usage["output_tokens"] is not None
    return Bill(
        PROVIDER,
        message["model"],
        sum(part["input_tokens"] for part in parts) + read + created,
        sum(part["output_tokens"] for part in parts) if known else None,
        details(
            cache_read=read,
            cache_creation=created,
            reasoning=(usage.get("output_tokens_details") or {}).get("thinking_tokens"),
        ),
        status="error" if error else "success",
        error_type=error,
    )


def _billed(usage: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    # https://docs.anthropic.com/en/docs/build-with-claude/compaction: what a compaction took is
    # beside the counts of the message. So is what an advisor took, but that is another model's.
    yield usage
    for iteration in usage.get("iterations") or ():
        if iteration["type"] == "compaction":
            yield iteration


def _error_type(case: Case) -> str:
    if case.failed:
        if case.body["error"]["message"].startswith(_TOO_LONG):
            return "context_length"
        return ERROR_TYPES[case.http_status]
    for event in case.events:
        if event["type"] == "error":
            return _ERROR_TYPES[event["error"]["type"]]
    return "connection" if case.ends == "cut" else ""


MESSAGES = Wire(_client, _bill, named_sse)
