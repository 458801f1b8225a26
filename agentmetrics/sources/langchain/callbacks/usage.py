"""Where LangChain puts a call's model, provider and usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentmetrics.calls.facts import FOUND, UNKNOWN, LLMCall, Unread
from agentmetrics.providers.costs import WHERE, told_cost
from agentmetrics.providers.details import KNOWN, unknown_tokens
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

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_NOTHING: Mapping[str, Any] = {}
_SERVICE_TIERS = ("flex", "priority")
_SPEAK_MORE = REPORTING | QUIRKS.keys()
_TELL_SO_FAR = frozenset({"openai", "deepseek"})
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
    Raises ``ValueError`` on usage that cannot be, ``ErrorInResponse`` for an error that the
    provider's package passed over.
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
                if call.first_token:
                    _read_streamed(call, usage)
                else:
                    call.usage = _usage(usage)
                    raw = served.get("token_usage")
                    if raw.__class__ is dict:  # written out: it is asked of nearly every call
                        sent = raw.get("prompt_tokens_details")
                        received = raw.get("completion_tokens_details")
                        if (sent.__class__ is dict and any(sent.values())) or (
                            received.__class__ is dict and any(received.values())
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
    elif call.first_token:
        _read_streamed(call, None)
    if call.usage is None:
        call.usage = Usage.from_response(served)
    if call.provider in _SPEAK_MORE or "headers" in served:
        _read_more(call, served, response)
    if call.usage is None:
        texts = (text for choices in response.generations for text in choices)
        note_unread(call, next(texts, response) if message is None else message)


def note_unread(call: LLMCall, response: object) -> None:
    """Note in a call that this response says nothing of its tokens."""
    call.unread = Unread.of(response, _ADVICE_STREAM if call.first_token else _ADVICE)


def read_first_chunk(call: LLMCall, chunk: Any) -> None:
    """Let a stream that tells its usage so far, in every chunk, begin to.

    Servers of OpenAI's wire that do (vLLM's ``continuous_usage_stats``) count from the start
    of the response every time, and LangChain adds those counts up.
    """
    message: Any = getattr(chunk, "message", None)
    block = getattr(message, "usage_metadata", None)
    if block and message.response_metadata.get("model_provider") in _TELL_SO_FAR:
        call.usage = _usage(block)


def read_chunk(call: LLMCall, chunk: Any) -> None:
    """The usage so far of a stream that tells it; the last stands for the call."""
    block = getattr(getattr(chunk, "message", None), "usage_metadata", None)
    if block:
        call.usage = _usage(block)


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


def _read_streamed(call: LLMCall, usage: Mapping[str, Any] | None) -> None:
    """Undo how LangChain joined the chunks of a stream, which adds their numbers.

    Usage that the chunks told so far stands.
    """
    if usage is not None and call.usage is None:
        call.usage = _usage(usage)


def _read_more(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    """What only some providers and packages say."""
    amend = QUIRKS.get(call.provider)
    if amend is not None:
        amend(call, served, response)
    if "headers" in served and not call.first_token:
        call.api_seconds = header_seconds(served["headers"])
    elif call.provider in REPORTING:
        call.api_seconds = api_seconds(served, response.llm_output or _NOTHING)


def _usage(block: Mapping[str, Any]) -> Usage:
    """LangChain's ``UsageMetadata``: input includes what was cached, details are subsets.

    Nothing is answered to a prompt of 0 tokens: packages write that for what they were not told.
    """
    inputs, outputs = block.get("input_token_details"), block.get("output_token_details")
    tokens = block.get("input_tokens")
    if tokens == 0 and block.get("output_tokens"):
        return Usage.of(output_tokens=block["output_tokens"])
    if not (inputs and any(inputs.values())) and not (outputs and any(outputs.values())):
        return Usage.plain(tokens, block.get("output_tokens"))
    inputs, outputs = inputs or _NOTHING, outputs or _NOTHING
    tier = _tier(inputs)
    return Usage(
        tokens,
        block.get("output_tokens"),
        inputs.get(f"{tier}cache_read"),
        inputs.get(f"{tier}cache_creation") or _ephemeral(inputs),
        inputs.get("ephemeral_1h_input_tokens"),
        outputs.get(f"{tier}reasoning"),
        inputs.get("audio"),
        outputs.get("audio"),
        inputs.get("image"),
        outputs.get("image"),
        None if KNOWN.issuperset(inputs) and KNOWN.issuperset(outputs) else unknown_tokens(block),
    ).checked()


def _with_the_rest(usage: Usage, raw: Mapping[str, Any]) -> Usage:
    """What LangChain has no place for, of a usage of OpenAI's wire: images, and what is unknown."""
    whole = Usage.from_response({"usage": raw})
    if whole is None:
        return usage
    return replace(
        usage,
        image_input_tokens=whole.image_input_tokens,
        image_output_tokens=whole.image_output_tokens,
        unknown_tokens=whole.unknown_tokens,
    ).checked()


def _tier(details: Mapping[str, Any]) -> str:
    # langchain-openai puts OpenAI's service tier in front of the details that it prices apart.
    for tier in _SERVICE_TIERS:
        if tier in details:
            return f"{tier}_"
    return ""


def _ephemeral(details: Mapping[str, Any]) -> Any:
    # langchain-anthropic, not streamed: the two kinds beside "cache_creation": 0.
    if "ephemeral_5m_input_tokens" not in details:
        return details.get("cache_creation")
    kinds = (details["ephemeral_5m_input_tokens"], details.get("ephemeral_1h_input_tokens"))
    return sum(kind or 0 for kind in kinds)
