"""Groq's chat completions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.conformance.case import Bill, Case
from tests.conformance.wires.openai import chat_bill
from tests.conformance.wires.wire import NO_KEY, Wire, sse_done


def _client(case: Case, url: str) -> Any:
    from langchain_groq import ChatGroq

    return ChatGroq(model=case.model, base_url=url, api_key=NO_KEY, max_retries=0, **case.options)


def _bill(case: Case) -> Bill:
    # https://console.groq.com/docs/api-reference: usage of a stream is in its last x_groq, and
    # total_time is of the prompt and the completion, without the queue.
    plain = case
    if case.streamed:
        told = [{**e, "usage": (e.get("x_groq") or {}).get("usage")} for e in case.events]
        plain = replace(case, events=tuple(told))
    bill = chat_bill(plain, "groq")
    usages = [e["usage"] for e in plain.events or (case.body,) if e.get("usage")]
    if bill.status != "success" or not usages:
        return bill
    return replace(bill, api_seconds=usages[-1]["queue_time"] + usages[-1]["total_time"])


CHAT = Wire(_client, _bill, sse_done)
