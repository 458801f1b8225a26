"""OpenAI's chat completions, responses and text completions, and others' who speak the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.wire import ERROR_TYPES, NO_KEY, Wire, named_sse, sse_done

ODD = ("video_tokens", "hologram_tokens")
"""Details that no price is known of."""

_BY_CODE: Mapping[str, str] = {
    "context_length_exceeded": "context_length",
    "content_filter": "content_filter",
    "rate_limit_exceeded": "rate_limit",
    "insufficient_quota": "rate_limit",
    "server_error": "server_error",
}


def error_type(error: Mapping[str, Any], http_status: int | None = None) -> str:
    """What an error object of OpenAI's wire is: its code, its type, or else the HTTP status."""
    for said in (error.get("code"), error.get("type")):
        if isinstance(said, str) and said in _BY_CODE:
            return _BY_CODE[said]
        if isinstance(said, int):  # OpenRouter's codes are HTTP's
            return ERROR_TYPES[said]
    return "other" if http_status is None else ERROR_TYPES[http_status]


def failure(case: Case) -> str:
    """The type of the error that a case is: by HTTP, within its stream, or cut off; or none."""
    if case.failed:
        error = case.body.get("error") or case.body
        return error_type(error if isinstance(error, dict) else {}, case.http_status)
    errors = [o["error"] for o in objects(case) if o.get("error")]
    if errors:
        return error_type(errors[0])
    return "connection" if case.ends == "cut" else ""


def objects(case: Case) -> Sequence[Mapping[str, Any]]:
    """The chunks of a stream, or the one response."""
    return case.events if case.streamed else (case.body,)


def chat_bill(case: Case, provider: str) -> Bill:
    """The bill of a chat completion and its like."""
    # https://platform.openai.com/docs/api-reference/chat/object; in a stream the last usage
    # stands: it is of the whole request.
    model = next((o["model"] for o in objects(case) if o.get("model")), case.model)
    bill = Bill(provider, model, api_seconds=_processing_seconds(case))
    if kind := failure(case):
        bill = replace(bill, model=case.model, status="error", error_type=kind)
    told = [o["usage"] for o in objects(case) if o.get("usage")]
    usage = next((u for u in reversed(told) if u["prompt_tokens"] or u["completion_tokens"]), None)
    if usage is None:
        return bill
    if error := _parsing_error(case):
        bill = replace(bill, status="error", error_type=error)
    return _tokens(bill, usage)


def _tokens(bill: Bill, usage: Mapping[str, Any]) -> Bill:
    """The tokens of a usage; what its total shows to be beside the two counts is billed, too.

    https://docs.x.ai/docs/guides/reasoning, https://ai.google.dev/gemini-api/docs/openai
    """
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    sent, received = usage["prompt_tokens"], usage["completion_tokens"]
    cached, written = prompt.get("cached_tokens") or 0, prompt.get("cache_write_tokens") or 0
    reasoning, wrong = completion.get("reasoning_tokens") or 0, False
    if "citation_tokens" in usage:  # https://docs.perplexity.ai/getting-started/pricing
        reasoning = usage["reasoning_tokens"]
        return replace(
            bill,
            input_tokens=sent,
            output_tokens=received + reasoning,
            details=details(reasoning=reasoning),
        )
    beside = (usage.get("total_tokens") or sent + received) - sent - received
    if beside and "gemini" in bill.model:
        received, reasoning = received + beside, beside
    elif beside and beside == reasoning:
        received += reasoning
    elif beside and beside == cached + written:
        sent += beside
    else:
        wrong = bool(beside)
    if cached + written > sent:
        cached, written, wrong = 0, 0, True
    if reasoning > received:
        reasoning, wrong = 0, True
    return replace(
        bill,
        input_tokens=sent,
        output_tokens=received,
        details=details(
            cache_read=cached,
            cache_creation=written,
            audio_input=prompt.get("audio_tokens"),
            reasoning=reasoning,
            audio_output=completion.get("audio_tokens"),
            image_input=prompt.get("image_tokens"),
            image_output=completion.get("image_tokens"),
            unknown=sum(part.get(name, 0) for part in (prompt, completion) for name in ODD),
        ),
        not_understood=int(wrong),
    )


def _parsing_error(case: Case) -> str:
    """What OpenAI's SDK raises of an answer that was asked for in a format, and is not whole.

    https://github.com/openai/openai-python/blob/main/helpers.md
    """
    if "response_format" not in case.options.get("model_kwargs", {}):
        return ""
    reasons = [choice["finish_reason"] for o in objects(case) for choice in o["choices"]]
    return next((_UNPARSED[reason] for reason in reasons if reason in _UNPARSED), "")


_UNPARSED: Mapping[str, str] = {"length": "other", "content_filter": "content_filter"}


def _processing_seconds(case: Case) -> float | None:
    # https://platform.openai.com/docs/api-reference/debugging-requests; the headers of a stream
    # are sent before it, so there it is not the time of the call. Of a success they have to be
    # asked for.
    handed_on = case.failed or case.options.get("include_response_headers")
    milliseconds = case.headers.get("openai-processing-ms")
    if milliseconds is None or case.streamed or not handed_on:
        return None
    return int(milliseconds) / 1000


def _chat_client(case: Case, url: str) -> Any:
    from langchain_openai import ChatOpenAI

    # As for OpenAI itself, whose URL is the default: another one turns stream_usage off.
    options = {"stream_usage": True, **case.options}
    return ChatOpenAI(
        model=case.model, base_url=f"{url}/v1", api_key=NO_KEY, max_retries=0, **options
    )


def _compatible_client(case: Case, url: str) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model=case.model, base_url=f"{url}/v1", api_key=NO_KEY, max_retries=0, **case.options
    )


def _responses_client(case: Case, url: str) -> Any:
    return _chat_client(case, url).model_copy(update={"use_responses_api": True})


def _text_client(case: Case, url: str) -> Any:
    from langchain_openai import OpenAI

    return OpenAI(
        model=case.model, base_url=f"{url}/v1", api_key=NO_KEY, max_retries=0, **case.options
    )


def _chat_bill(case: Case) -> Bill:
    return chat_bill(case, "openai")


def _responses_bill(case: Case) -> Bill:
    # https://platform.openai.com/docs/api-reference/responses/object, and .../responses-streaming
    if case.failed or case.ends == "cut":
        return Bill("openai", case.model, status="error", error_type=failure(case))
    events = case.events if case.streamed else ({"type": "", "response": case.body},)
    for event in events:
        error = event if event["type"] == "error" else (event.get("response") or {}).get("error")
        if error:
            return Bill("openai", case.model, status="error", error_type=error_type(error))
    response = [e["response"] for e in events if "response" in e][-1]
    usage = response.get("usage")
    if usage is None:
        return Bill("openai", response["model"])
    return Bill(
        "openai",
        response["model"],
        usage["input_tokens"],
        usage["output_tokens"],
        details(
            cache_read=usage["input_tokens_details"].get("cached_tokens"),
            cache_creation=usage["input_tokens_details"].get("cache_write_tokens"),
            reasoning=usage["output_tokens_details"].get("reasoning_tokens"),
        ),
        api_seconds=_processing_seconds(case),
    )


CHAT = Wire(_chat_client, _chat_bill, sse_done)
COMPATIBLE = Wire(_compatible_client, _chat_bill, sse_done)
RESPONSES = Wire(_responses_client, _responses_bill, named_sse)
TEXT = Wire(_text_client, _chat_bill, sse_done)
