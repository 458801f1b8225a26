"""Cohere's chat, version 2."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.wire import ERROR_TYPES, NO_KEY, Wire, named_sse, without_usage

PROVIDER = "cohere"


def _client(case: Case, url: str) -> Any:
    from langchain_cohere import ChatCohere

    model = ChatCohere(model=case.model, base_url=url, cohere_api_key=NO_KEY, **case.options)
    return model.bind(request_options={"max_retries": 0})


def _bill(case: Case) -> Bill:
    # https://docs.cohere.com/reference/chat: usage.billed_units is what is billed, usage.tokens
    # is what the model saw, with what Cohere put around the prompt. No response names its model.
    if case.failed:
        return without_usage(PROVIDER, case.model, ERROR_TYPES[case.http_status])
    if case.streamed:
        ends = [e["delta"] for e in case.events if e["type"] == "message-end"]
        usage = ends[0].get("usage") if ends else None
        error = "connection" if case.ends == "cut" else ""
    else:
        usage, error = case.body.get("usage"), ""
    if not usage or "billed_units" not in usage:
        return without_usage(PROVIDER, case.model, error)
    billed, cached = usage["billed_units"], usage.get("cached_tokens") or 0
    is_part = cached <= billed["input_tokens"]  # what is not was no part of the bill
    return Bill(
        PROVIDER,
        case.model,
        billed["input_tokens"],
        billed["output_tokens"],
        details(cache_read=cached if is_part else 0),
        not_understood=int(not is_part),
        seen=(usage["tokens"]["input_tokens"], usage["tokens"]["output_tokens"]),
    )


CHAT = Wire(_client, _bill, named_sse)
