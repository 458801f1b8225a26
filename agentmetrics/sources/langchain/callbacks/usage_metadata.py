"""LangChain's ``UsageMetadata``: the tokens of a message, in one shape for all packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentmetrics.calls.facts import LLMCall
from agentmetrics.providers.counts import Count, Doubts
from agentmetrics.providers.details import KNOWN, unknown_tokens
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.metric import class_name

_NOTHING: Mapping[str, Any] = {}
_SERVICE_TIERS = ("flex", "priority")


def usage_of(block: Mapping[str, Any], call: LLMCall) -> Usage:
    """The usage in a message of a call: input includes what was cached, details are subsets.

    Nothing is answered to a prompt of 0 tokens: packages write that for what they were not told.
    What cannot be is left out, and is the ``doubt`` of the rest.
    """
    try:
        sent, received = block["input_tokens"], block["output_tokens"]
        total = block.get("total_tokens")
        if (
            type(sent) is int is type(received)
            and (not total or total == sent + received)
            and (sent or not received)
        ):
            inputs, outputs = block.get("input_token_details"), block.get("output_token_details")
            if not (inputs and any(inputs.values())) and not (outputs and any(outputs.values())):
                return Usage.plain(sent, received)
            usage = _detailed(block, sent, received, inputs or _NOTHING, outputs or _NOTHING)
            if usage.stands:
                return usage
    except Exception:  # details that are none: they are looked at closely
        pass
    return _rest(block, call.priced_model)


def _detailed(
    block: Mapping[str, Any],
    sent: int,
    received: int,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
) -> Usage:
    tier = _tier(inputs)
    return Usage(
        sent,
        received,
        inputs.get(f"{tier}cache_read"),
        inputs.get(f"{tier}cache_creation") or _ephemeral(inputs),
        inputs.get("ephemeral_1h_input_tokens"),
        outputs.get(f"{tier}reasoning"),
        inputs.get("audio"),
        outputs.get("audio"),
        inputs.get("image"),
        outputs.get("image"),
        None if KNOWN.issuperset(inputs) and KNOWN.issuperset(outputs) else unknown_tokens(block),
    )


def _rest(block: Mapping[str, Any], model: str) -> Usage:
    """What can be of a usage that does not fit together, or says not all."""
    doubts = Doubts()
    count = doubts.count
    inputs = _details(block, "input_token_details", doubts)
    outputs = _details(block, "output_token_details", doubts)
    tier = _tier(inputs)
    created = count(inputs.get(f"{tier}cache_creation"), "cache_creation")
    sent = count(block.get("input_tokens"), "input_tokens")
    received = count(block.get("output_tokens"), "output_tokens")
    is_told = bool(sent or not received)
    counts = {
        "input_tokens": sent if is_told else None,
        "output_tokens": received,
        "cache_read_tokens": inputs.get(f"{tier}cache_read"),
        "cache_creation_tokens": created or _ephemeral(inputs, count),
        "cache_creation_1h_tokens": inputs.get("ephemeral_1h_input_tokens"),
        "reasoning_tokens": outputs.get(f"{tier}reasoning"),
        "audio_input_tokens": inputs.get("audio"),
        "audio_output_tokens": outputs.get("audio"),
        "image_input_tokens": inputs.get("image"),
        "image_output_tokens": outputs.get("image"),
        "unknown_tokens": unknown_tokens(block),
        "total_tokens": block.get("total_tokens") if is_told else None,
    }
    return Usage.told(counts, model, doubts)


def _details(block: Mapping[str, Any], name: str, doubts: Doubts) -> Mapping[str, Any]:
    details = block.get(name)
    if isinstance(details, Mapping):
        return details
    if details is not None:
        doubts.note(ValueError(f"{name} are no details ({class_name(details)})"))
    return _NOTHING


def _tier(details: Mapping[str, Any]) -> str:
    # langchain-openai puts OpenAI's service tier in front of the details that it prices apart.
    for tier in _SERVICE_TIERS:
        if tier in details:
            return f"{tier}_"
    return ""


def _as_is(value: Any, name: str) -> Any:
    return value


def _ephemeral(details: Mapping[str, Any], count: Count = _as_is) -> Any:
    # langchain-anthropic, not streamed: the two kinds beside "cache_creation": 0.
    if "ephemeral_5m_input_tokens" not in details:
        return count(details.get("cache_creation"), "cache_creation")
    return sum(count(details.get(name), name) or 0 for name in _EPHEMERAL)


_EPHEMERAL = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
