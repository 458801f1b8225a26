"""The most tokens that a call can use, by what is sent: for budgets that reserve it beforehand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from agentmetrics.calls.facts import Ceiling
from agentmetrics.providers.fields import MOST_FIELDS, held
from agentmetrics.providers.service_tier import service_tier_of

_NESTED = (
    *("generation_config", "options", "extra_body", "model_kwargs", "config", "inferenceConfig"),
    "textGenerationConfig",
)
"""Where integrations and wires keep what they send beside the other parameters."""
_LIMITS = (
    *("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict", "maxTokens"),
    *("max_gen_len", "maxTokenCount"),
)
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

_INPUTS = (
    *("messages", "system", "input", "instructions", "contents", "prompt", "suffix"),
    *("message", "preamble", "chat_history", "texts", "query", "documents"),
)
"""Where a request has its input, by the names of all wires."""
_TOOLS = ("tools", "functions", "toolConfig", "tool_config")
_TEXT_ITEMS = frozenset(
    {
        *("message", "input_text", "output_text", "function", "function_call"),
        *("function_call_output", "refusal"),
    }
)
_DATA_FIELDS = frozenset({"arguments", "args", "input", "json", "response", "output"})
"""What holds data of the program's own, to or from a tool."""
_TEXT_FIELDS = _DATA_FIELDS | frozenset(
    {
        *("role", "content", "text", "type", "id", "name", "index", "status", "parts", "thinking"),
        *("tool_calls", "function", "tool_call_id", "call_id", "function_call", "tool_use_id"),
        *("signature", "data", "cache_control", "is_error", "refusal", "reasoning_content"),
        *("toolUse", "toolResult", "toolUseId", "cachePoint", "reasoningContent", "reasoningText"),
        *("functionCall", "functionResponse", "function_response", "thought", "thoughtSignature"),
        *("message", "user_name", "summary", "annotations"),
    }
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


def ceiling_of_body(body: Params, speaks: bool) -> Ceiling | None:
    """The most input and output of a request that an SDK sends, in whichever wire's words.

    ``speaks`` is whether the model answers in tokens. ``None`` where nobody can know the most.
    """
    sent = _as_data(body)
    places = [sent, *(w for name in _NESTED if isinstance(w := sent.get(name), Mapping))]
    output = _max_output(places, {}) if speaks else 0
    if output is None or any(map(_has_more_input, places)):
        return None
    if not all(_is_only_text(sent.get(name)) for name in _INPUTS):
        return None
    size = len(_json(sent))
    if any(where.get(name) for where in places for name in _TOOLS):
        size += _TOKENS_FOR_TOOLS
    messages = sent.get("messages") or sent.get("input") or ()
    size += _TOKENS_PER_MESSAGE * (len(messages) if isinstance(messages, list) else 1)
    return Ceiling(size, output, _asked_tier(places))


def _as_data(value: Any) -> Any:
    """Plain data of what SDKs take in its place: objects of theirs, tuples, values not given."""
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return _as_data(value.model_dump(exclude_none=True))
    if isinstance(value, Mapping):
        return {str(name): _as_data(inner) for name, inner in _whole(value)}
    if isinstance(value, list | tuple):
        return [_as_data(inner) for inner in held(value)]
    return value


def _whole(mapping: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """All that is in a mapping; ``ValueError`` where that has no end, as in a class of somebody's
    own: a part of it would tell too little."""
    if isinstance(mapping, dict):
        return dict.items(mapping)
    found = tuple(islice(mapping.items(), MOST_FIELDS + 1))
    if len(found) > MOST_FIELDS:
        raise ValueError("a mapping of too many fields")
    return found


def _is_only_text(part: Any) -> bool:
    """Whether an input is text to the last: media and files have sizes of their own."""
    if isinstance(part, list):
        return all(map(_is_only_text, part))
    if not isinstance(part, Mapping):
        return not isinstance(part, bytes)
    kind = part.get("type")
    if kind is not None and kind not in _TEXT_BLOCKS | _TEXT_ITEMS:
        return False
    return part.keys() <= _TEXT_FIELDS and all(
        _is_only_text(value) for name, value in part.items() if name not in _DATA_FIELDS
    )


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
