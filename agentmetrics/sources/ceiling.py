"""The most tokens that a call can use, by what is sent: for budgets that reserve it beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentmetrics.calls.facts import Ceiling
from agentmetrics.providers.service_tier import service_tier_of

_NESTED = ("generation_config", "options", "extra_body", "model_kwargs")
"""Where integrations keep what they send beside the other parameters."""
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict")
_CHOICES = ("n", "best_of", "candidate_count")
_KEPT_THERE = ("previous_response_id", "conversation", "cached_content")
"""Input that the provider has already, of any size."""
_SEARCHES = ("web_search_options", "search_parameters", "mcp_servers")
"""What has the provider find input by itself."""
_OWN_TOOLS = frozenset({"function", "input_schema", "toolSpec"})
_ANY_TIER = ("auto", "standard_only")
_TOKENS_PER_MESSAGE = 16
"""Role and separators; OpenAI's cookbook counts 3 or 4 a message, other templates a few more."""
_TOKENS_FOR_TOOLS = 1000
"""The hidden prompt of tool use; Anthropic's documentation has 346 to 530 a request."""
_SENT_BESIDE = ("name", "tool_call_id", "tool_calls", "invalid_tool_calls", "additional_kwargs")
_TEXT_BLOCKS = frozenset(
    {"text", "thinking", "reasoning", "tool_use", "tool_call", "tool_result", "redacted_thinking"}
)

Params = Mapping[str, Any]


def ceiling_of(
    messages: Sequence[Any], params: Params | None, metadata: Mapping[str, Any] | None
) -> Ceiling | None:
    """The most input and output; ``None`` where nobody can know it.

    A tokenizer makes at most one token of a byte, so the input has at most as many tokens as
    bytes. Output is limited by the call's own ``max_tokens``, times its choices. How much an
    image, a sound or a file is cannot be known here, nor how much input is that is not sent: what
    the provider keeps or finds.
    """
    params = params or {}
    nested = map(params.get, _NESTED)
    places = [params, *(where for where in nested if isinstance(where, Mapping))]
    output = _max_output(places, metadata or {})
    sizes = [_bytes(message) for message in messages]
    if output is None or None in sizes or any(map(_has_more_input, places)):
        return None
    sent = len(_json({name: value for name, value in params.items() if name != "messages"}))
    if any(where.get("tools") or where.get("functions") for where in places):
        sent += _TOKENS_FOR_TOOLS
    total = sum(size or 0 for size in sizes) + _TOKENS_PER_MESSAGE * len(messages)
    return Ceiling(total + sent, output, _asked_tier(places))


def _max_output(places: Sequence[Params], metadata: Params) -> int | None:
    """The largest of several limits, since integrations differ in which one they send."""
    limits = _said(places, _LIMITS) or _said([metadata], ("ls_max_tokens",))
    counts = [limits, [1, *_said(places, _CHOICES)]]
    if not limits or not all(type(n) is int and n >= 0 for named in counts for n in named):
        return None  # -1 is no limit
    most, choices = map(max, counts)
    return int(most * choices)


def _said(places: Sequence[Params], names: Sequence[str]) -> list[Any]:
    found = (where.get(name) for where in places for name in names)
    return [value for value in found if value is not None]


def _has_more_input(params: Params) -> bool:
    return (
        any(params.get(name) for name in (*_KEPT_THERE, *_SEARCHES))
        or isinstance(params.get("prompt"), Mapping)  # the id of a stored one
        or not all(map(_is_own_tool, params.get("tools") or ()))
    )


def _is_own_tool(tool: object) -> bool:
    """Whether a tool is run here: what a provider's own finds is input of the same call."""
    if not isinstance(tool, Mapping):
        return False
    said = {name for name, value in tool.items() if value is not None}
    return (
        tool.get("type") in ("function", "custom")
        or not said.isdisjoint(_OWN_TOOLS)
        or said in ({"function_declarations"}, {"cachePoint"})  # of Gemini and of Bedrock
        or ("name" in said and "type" not in said)
    )


def _asked_tier(places: Sequence[Params]) -> str:
    def asked(*names: str) -> Any:
        return next(iter(_said(places, names)), None)

    tier = asked("service_tier", "serviceTier")
    if isinstance(tier, Mapping):
        tier = tier.get("type")
    return service_tier_of(
        {
            "usage": {
                "service_tier": None if tier in _ANY_TIER else tier,
                "speed": asked("speed"),
                "inference_geo": asked("inference_geo"),
            }
        }
    )


def _bytes(message: Any) -> int | None:
    """The bytes of a message or prompt as it is sent, or ``None`` when not all of it is text."""
    if isinstance(message, str):
        return len(message.encode(errors="surrogatepass"))
    content = message.content
    blocks = [content] if isinstance(content, str) else content
    if not all(_is_text(block) for block in blocks):
        return None
    return len(_json([content, *(getattr(message, name, None) for name in _SENT_BESIDE)]))


def _is_text(block: Any) -> bool:
    if isinstance(block, str):
        return True
    if not isinstance(block, Mapping) or block.get("type") not in _TEXT_BLOCKS:
        return False
    inside = block.get("content")  # of a tool's result
    return all(map(_is_text, inside)) if isinstance(inside, list) else True


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    return text.encode(errors="surrogatepass")


def _plain(value: Any) -> Any:
    """What is sent of an object: of a Pydantic class that a reply is to have the form of, all."""
    schema = getattr(value, "model_json_schema", None) if isinstance(value, type) else None
    return repr(value) if schema is None else schema()
