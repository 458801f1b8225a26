"""What single providers' packages put elsewhere than LangChain's common places, or leave out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agentmetrics.calls.facts import LLMCall
from agentmetrics.providers.failures import ErrorInResponse
from agentmetrics.providers.usage import Usage

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult


Amend = Callable[[LLMCall, Mapping[str, Any], "LLMResult"], None]
"""Takes a call that has what the common places say, the message's ``response_metadata`` (a text
LLM's ``generation_info``) and the whole response."""


def _anthropic(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    # https://docs.anthropic.com/en/docs/build-with-claude/compaction: its tokens are beside the
    # message's, in the raw usage alone; of a stream's langchain-anthropic hands nothing on.
    for block in _blocks(response):
        if type(block) is dict and block.get("type") == "compaction":
            call.usage = Usage.from_response(response.llm_output)
            return


def _blocks(response: LLMResult) -> Iterator[Any]:
    """What messages have in contents that are lists."""
    for choices in response.generations:
        for generation in choices:
            content = getattr(getattr(generation, "message", None), "content", None)
            if type(content) is list:
                yield from content


def _bedrock(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    # langchain-aws takes a header of counts that InvokeModel did not send for 0. Converse always
    # says them, and 0 where a guardrail blocked the prompt.
    if call.usage is not None and not call.usage.total_tokens:
        if served.get("model_provider") != "bedrock_converse":
            call.usage = None


def _cohere(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    # https://docs.cohere.com/reference/chat: billed_units is the bill, tokens what the model saw
    # with what Cohere put around it. langchain-cohere hands on the first of a stream, with a
    # total, and the second else: then nobody knows what it cost.
    counts = served.get("token_count")
    if isinstance(counts, Mapping):
        seen = {"tokens": counts}
        call.usage = Usage.from_response({"usage": counts if "total_tokens" in counts else seen})
    elif call.usage is not None:
        call.usage = Usage.told({**call.usage.counts, "is_bill": False})


def _mistral(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    # langchain-mistralai hands cached tokens on in llm_output alone, and not in streams.
    block = (response.llm_output or {}).get("token_usage")
    if block and call.usage is not None:
        call.usage = Usage.from_response({"usage": block})


def _openrouter(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    # langchain-openrouter drops the error of a chunk that has choices, whose end says so.
    # https://openrouter.ai/docs/api-reference/errors: it is the upstream provider's.
    if served.get("finish_reason") == "error":
        raise ErrorInResponse(502)


def _perplexity(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    # Of deep research langchain-perplexity hands on what is billed beside the output as if it were
    # a part of it; see ``research_usage``.
    for choices in response.generations:
        for generation in choices:
            block = getattr(getattr(generation, "message", None), "usage_metadata", None) or {}
            details = block.get("output_token_details") or {}
            if "citation_tokens" in details:
                told = {
                    "prompt_tokens": block.get("input_tokens"),
                    "completion_tokens": block.get("output_tokens"),
                    "reasoning_tokens": details.get("reasoning"),
                    "citation_tokens": details["citation_tokens"],
                }
                call.usage = Usage.from_response({"usage": told})
                return


def _azure(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    # AzureChatOpenAI puts its model_version behind a name that has it already.
    named = call.served_model
    call.served_model = _DOUBLED_VERSION.sub(r"\1", named)
    if call.model == named:
        call.model = call.served_model


_DOUBLED_VERSION = re.compile(r"(-[0-9-]+)\1$")

COMPACTING = frozenset({"anthropic", "anthropic_bedrock", "google_anthropic_vertex"})
"""Providers of which there is more to say when the content of a message is a list."""

QUIRKS: Mapping[str, Amend] = {
    **dict.fromkeys(COMPACTING, _anthropic),
    "amazon_bedrock": _bedrock,
    "azure": _azure,
    "cohere": _cohere,
    "mistral": _mistral,
    "openrouter": _openrouter,
    "perplexity": _perplexity,
}
"""By the provider of the call."""
