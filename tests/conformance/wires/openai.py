"""OpenAI's chat completions and whoever speaks them."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.wire import ERROR_TYPES, NO_KEY, Wire, sse_done


def _chat_client(case: Case, url: str) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model=case.model,
        base_url=f"{url}/v1",
        api_key=NO_KEY,
        max_retries=0,
        **{"stream_usage": True, **case.options},
    )


def _chat_bill(case: Case) -> Bill:
    # https://platform.openai.com/docs/api-reference/chat/object
    if case.failed:
        return Bill("openai", case.model, status="error", error_type=ERROR_TYPES[case.http_status])
    objects = case.events if case.streamed else (case.body,)
    model = next((o["model"] for o in objects if o.get("model")), case.model)
    usage = next((o["usage"] for o in reversed(objects) if o.get("usage")), None)
    if usage is None:
        return Bill("openai", model)
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Bill(
        "openai",
        model,
        usage["prompt_tokens"],
        usage["completion_tokens"],
        details(
            cache_read=prompt.get("cached_tokens"),
            audio_input=prompt.get("audio_tokens"),
            reasoning=completion.get("reasoning_tokens"),
            audio_output=completion.get("audio_tokens"),
        ),
    )


CHAT = Wire(_chat_client, _chat_bill, sse_done)
