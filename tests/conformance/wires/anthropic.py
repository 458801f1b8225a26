"""Anthropic's messages."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.wire import ERROR_TYPES, NO_KEY, Wire, named_sse


def _client(case: Case, url: str) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(
        model=case.model, base_url=url, api_key=NO_KEY, max_retries=0, **case.options
    )


def _bill(case: Case) -> Bill:
    # https://docs.anthropic.com/en/api/messages: input_tokens leaves out both kinds of cache;
    # in a stream message_delta's counts are cumulative and stand for message_start's.
    if case.failed:
        error = ERROR_TYPES[case.http_status]
        return Bill("anthropic", case.model, status="error", error_type=error)
    if case.streamed:
        message = next(e["message"] for e in case.events if e["type"] == "message_start")
        last = [e["usage"] for e in case.events if e["type"] == "message_delta"]
        usage = {**message["usage"], **(last[-1] if last else {})}
    else:
        message, usage = case.body, case.body["usage"]
    read = usage.get("cache_read_input_tokens") or 0
    created = usage.get("cache_creation_input_tokens") or 0
    return Bill(
        "anthropic",
        message["model"],
        usage["input_tokens"] + read + created,
        usage["output_tokens"],
        details(cache_read=read, cache_creation=created),
    )


MESSAGES = Wire(_client, _bill, named_sse)
