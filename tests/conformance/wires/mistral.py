"""Mistral's chat completions."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Bill, Case
from tests.conformance.wires.openai import chat_bill
from tests.conformance.wires.wire import NO_KEY, Wire, sse_done


def _client(case: Case, url: str) -> Any:
    from langchain_mistralai import ChatMistralAI

    return ChatMistralAI(
        model_name=case.model, base_url=f"{url}/v1", api_key=NO_KEY, max_retries=1, **case.options
    )


def _bill(case: Case) -> Bill:
    # https://docs.mistral.ai/api/endpoint/chat, and .../prompt-caching for the cached tokens.
    return chat_bill(case, "mistral")


CHAT = Wire(_client, _bill, sse_done)
