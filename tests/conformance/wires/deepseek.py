"""DeepSeek's chat completions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.openai import chat_bill, objects
from tests.conformance.wires.wire import NO_KEY, Wire, sse_done


def _client(case: Case, url: str) -> Any:
    from langchain_deepseek import ChatDeepSeek

    return ChatDeepSeek(
        model=case.model,
        base_url=f"{url}/v1",
        api_key=NO_KEY,
        max_retries=0,
        **{"stream_usage": True, **case.options},
    )


def _bill(case: Case) -> Bill:
    # https://api-docs.deepseek.com/api/create-chat-completion: prompt_tokens is
    # prompt_cache_hit_tokens + prompt_cache_miss_tokens.
    bill = chat_bill(case, "deepseek")
    hits = [o["usage"].get("prompt_cache_hit_tokens") for o in objects(case) if o.get("usage")]
    if bill.status != "success" or not hits:
        return bill
    return replace(bill, details={**bill.details, **details(cache_read=hits[-1])})


CHAT = Wire(_client, _bill, sse_done)
