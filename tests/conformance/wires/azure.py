"""Azure OpenAI's chat completions and text completions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.conformance.case import Bill, Case
from tests.conformance.wires.openai import chat_bill
from tests.conformance.wires.wire import NO_KEY, Wire, sse_done

_API_VERSION = "2024-10-21"


def _chat_client(case: Case, url: str) -> Any:
    from langchain_openai import AzureChatOpenAI

    return AzureChatOpenAI(
        azure_endpoint=url,
        azure_deployment=case.model,
        api_version=_API_VERSION,
        api_key=NO_KEY,
        max_retries=0,
        **case.options,
    )


def _text_client(case: Case, url: str) -> Any:
    from langchain_openai import AzureOpenAI

    return AzureOpenAI(
        azure_endpoint=url,
        azure_deployment=case.model,
        api_version=_API_VERSION,
        api_key=NO_KEY,
        max_retries=0,
        **case.options,
    )


def _chat_bill(case: Case) -> Bill:
    # https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference; a completion that was
    # filtered is an error, which AzureChatOpenAI raises where it does not stream.
    bill = chat_bill(case, "azure")
    if not case.failed and not case.streamed and bill.status == "success":
        if any(choice["finish_reason"] == "content_filter" for choice in case.body["choices"]):
            return replace(bill, model=case.model, status="error", error_type="content_filter")
    return bill


def _text_bill(case: Case) -> Bill:
    return chat_bill(case, "azure")


CHAT = Wire(_chat_client, _chat_bill, sse_done)
TEXT = Wire(_text_client, _text_bill, sse_done)
