"""Where LangChain puts a call's model, provider and usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentmetrics.calls.facts import FOUND, UNKNOWN, LLMCall, Unread
from agentmetrics.providers.costs import WHERE, told_cost
from agentmetrics.providers.finish_reasons import (
    REFUSAL,
    STOP,
    TOOL_CALLS,
    finish_reason_of,
    meaning_of,
)
from agentmetrics.providers.service_tier import service_tier_of
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.metric import clean_label
from agentmetrics.sources.langchain.callbacks.latency import REPORTING, api_seconds, header_seconds
from agentmetrics.sources.langchain.callbacks.quirks import COMPACTING, QUIRKS
from agentmetrics.sources.langchain.callbacks.told import Told
from agentmetrics.sources.langchain.callbacks.usage_metadata import usage_of

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_NOTHING: Mapping[str, Any] = {}
_SPEAK_MORE = REPORTING | QUIRKS.keys()
_ADVICE = (
    "set usage_metadata on the model's messages, or record such calls with track_call() and "
    "record_usage()"
)
_ADVICE_STREAM = "pass stream_usage=True to the chat model"


def requested(
    metadata: Mapping[str, Any] | None, invocation_params: Mapping[str, Any] | None
) -> tuple[str, str]:
    """The provider and model that a call asked for.

    ``BaseLLM.generate()`` called directly sets neither in the metadata.
    """
    if metadata:
        provider, model = metadata.get("ls_provider"), metadata.get("ls_model_name")
        if type(provider) is str and type(model) is str and provider and model:
            return provider, model
    else:
        provider = model = None
    parameters = invocation_params or _NOTHING
    provider = provider or parameters.get("_type")
    model = model or parameters.get("model") or parameters.get("model_name")
    return clean_label(provider) or UNKNOWN, clean_label(model) or UNKNOWN


def read_response(call: LLMCall, response: LLMResult, run_id: UUID) -> None:
    """Put the model that served, the usage and the provider's time of a response into its call.

    With several choices the same usage stands on every generation: the first counts. Answers
    from LangChain's LLM cache carry ``total_cost: 0`` in their usage and are marked cached. The
    answer that was put there is marked too, when another call has found it before this one has
    ended; but its message has an id that names the run that made it.
    Raises ``ErrorInResponse`` for an error that the provider's package passed over.
    """
    message: Any = None
    served: Mapping[str, Any] = _NOTHING
    for choices in response.generations:
        for generation in choices:
            try:
                message = generation.message  # type: ignore[union-attr]
            except AttributeError:  # of a text LLM
                served = generation.generation_info or served
                continue
            served = served or message.response_metadata
            usage = getattr(message, "usage_metadata", None)
            if usage is not None:
                _read_served(call, served, response)
                _read_finish(call, served, message)
                if usage.get("total_cost") == 0 and str(run_id) not in (message.id or ""):
                    call.lookup = FOUND
                    return
                told = call.told
                block = usage if told is None else told.instead_of(usage)
                call.usage = usage_of(block, call)
                raw = served.get("token_usage") if told is None else None
                if raw.__class__ is dict:  # written out: it is asked of nearly every call
                    sent = raw.get("prompt_tokens_details")
                    received = raw.get("completion_tokens_details")
                    if (
                        (sent.__class__ is dict and any(sent.values()))
                        or (received.__class__ is dict and any(received.values()))
                        or "citation_tokens" in raw
                    ):
                        call.usage = _with_the_rest(call.usage, raw)
                if (
                    call.provider in _SPEAK_MORE
                    and (call.provider not in COMPACTING or type(message.content) is list)
                ) or "headers" in served:
                    _read_more(call, served, response)
                    if call.usage is None:
                        note_unread(call, message)
                return
    output = response.llm_output or _NOTHING
    asked, named = call.model, served.get("model_name") or served.get("model")
    _read_served(call, served, response)
    if message is None and not named and asked != UNKNOWN:
        call.served_model = ""  # a text LLM's llm_output names what was asked, or a default
    _read_finish(call, served, message)
    block = output.get("token_usage") or output.get("usage")
    if block:
        call.usage = Usage.from_response({"usage": block})
    if call.usage is None:  # of chunks, where it was told in a stream
        call.usage = Usage.from_response(served)
    if call.provider in _SPEAK_MORE or "headers" in served:
        _read_more(call, served, response)
    if call.usage is None:
        texts = (text for choices in response.generations for text in choices)
        note_unread(call, next(texts, response) if message is None else message)


def doubt_about(call: LLMCall) -> ValueError | None:
    """Why a part of what was read of a call's usage was left out, where no chunk said it."""
    if call.usage is None or (call.told is not None and call.told.is_in_doubt):
        return None
    return call.usage.doubt


def note_unread(call: LLMCall, response: object) -> None:
    """Note in a call that this response says nothing of its tokens."""
    call.unread = Unread.of(response, _ADVICE_STREAM if call.first_token else _ADVICE)


def read_chunk(call: LLMCall, message: Any) -> None:
    """Put the usage so far of a stream into its call, from the message of a chunk that has some.

    Raises ``ValueError``, once a stream, where a part of it was left out, since it cannot be.
    """
    block, told = message.usage_metadata, call.told
    if told is None:
        call.told = told = Told(block)
    else:
        told.take(block, call.provider, message.response_metadata.get("model_provider"))
    call.usage = usage_of(told.block, call)
    if call.usage.doubt is not None and not told.is_in_doubt:
        told.is_in_doubt = True
        raise call.usage.doubt


def _read_served(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    model = served.get("model_name") or served.get("model")
    if not model and response.llm_output:  # with several choices no message names it
        served = response.llm_output
        model = served.get("model_name")
    if model:
        model = model if type(model) is str else clean_label(model)
        if call.first_token and model != call.model:
            # Each of several choices names the model at its end, and LangChain joins the names.
            model = model[: (model * 2).find(model, 1)]
        call.serve(model)
    tier = served.get("service_tier")
    if tier != "default" and (
        tier or "usage" in served or "serviceTier" in served or "performanceConfig" in served
    ):
        call.service_tier = service_tier_of(served)
    block = served.get("token_usage")
    if block is None and response.llm_output:
        block = response.llm_output.get("token_usage")
    if (
        (block.__class__ is dict and not WHERE.isdisjoint(block))
        or "cost" in served
        or "headers" in served
    ):
        _read_cost(call, served, block)
    if call.provider == UNKNOWN:
        call.provider, call.series = clean_label(served.get("model_provider")) or UNKNOWN, None


def _read_cost(call: LLMCall, served: Mapping[str, Any], block: object) -> None:
    """What the provider or a gateway says that it cost.

    Headers are sent before a stream has cost anything.
    """
    headers = None if call.first_token else served.get("headers")
    told = told_cost({**served, "token_usage": block}, headers)
    if told is not None:
        call.cost(told)


def _read_finish(call: LLMCall, served: Mapping[str, Any], message: Any) -> None:
    """Why the model stopped; a word for an ordinary end may hide a tool call or a refusal."""
    word = served.get("finish_reason")
    reason = finish_reason_of(served) if word is None else meaning_of(word)
    if reason == STOP and message is not None:
        if getattr(message, "tool_calls", None):
            reason = TOOL_CALLS
        elif _refuses(message):
            reason = REFUSAL
    call.finish_reason = reason


def _refuses(message: Any) -> bool:
    if message.additional_kwargs.get("refusal"):
        return True
    content = message.content  # that of OpenAI's Responses API has a block for it
    return type(content) is list and any(
        type(block) is dict and block.get("type") == REFUSAL for block in content
    )


def _read_more(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    """What only some providers and packages say."""
    amend = QUIRKS.get(call.provider)
    if amend is not None:
        amend(call, served, response)
    if "headers" in served and not call.first_token:
        call.api_seconds = header_seconds(served["headers"])
    elif call.provider in REPORTING:
        call.api_seconds = api_seconds(served, response.llm_output or _NOTHING)


def _with_the_rest(usage: Usage, raw: Mapping[str, Any]) -> Usage:
    """What LangChain has no place for, of a usage of OpenAI's wire: images, what is unknown, and
    what Perplexity's deep research has beside the output."""
    whole = Usage.from_response({"usage": raw})
    if whole is None or "citation_tokens" in raw:
        return whole or usage
    return usage.but_with(
        image_input_tokens=whole.image_input_tokens,
        image_output_tokens=whole.image_output_tokens,
        unknown_tokens=whole.unknown_tokens,
    ).as_told
