"""OpenRouter's chat completions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.conformance.case import Bill, Case
from tests.conformance.wires.openai import chat_bill
from tests.conformance.wires.wire import NO_KEY, Wire, sse_done


def _client(case: Case, url: str) -> Any:
    from langchain_openrouter import ChatOpenRouter
    from openrouter.utils import BackoffStrategy, RetryConfig

    model = ChatOpenRouter(
        model=case.model, base_url=f"{url}/v1", api_key=NO_KEY, max_retries=0, **case.options
    )
    # max_retries=0 leaves the SDK to its own, which goes on for an hour.
    never = RetryConfig("none", BackoffStrategy(0, 0, 1, 0), retry_connection_errors=False)
    model.client.sdk_configuration.retry_config = never
    return model


def _bill(case: Case) -> Bill:
    # https://openrouter.ai/docs/api-reference/overview, and .../errors for those in a stream. What
    # a body lacks that the SDK has in its schema is an error, after the answer was billed.
    bill = chat_bill(case, "openrouter")
    if case.failed or case.streamed or "system_fingerprint" in case.body:
        return bill
    return replace(bill, status="error", error_type="other")


CHAT = Wire(_client, _bill, sse_done)
