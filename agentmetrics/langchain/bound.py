"""The most tokens that a call can use, by what is sent: for budgets that reserve it beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentmetrics.facts import Bound

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict")
_TOKENS_PER_MESSAGE = 16
"""Role and separators; OpenAI's cookbook counts 3 or 4 a message, other templates a few more."""
_TOKENS_FOR_TOOLS = 1000
"""The hidden prompt of tool use; Anthropic's documentation has 346 to 530 a request."""
_TEXT_BLOCKS = frozenset(
    {"text", "thinking", "reasoning", "tool_use", "tool_call", "tool_result", "redacted_thinking"}
)

Params = Mapping[str, Any]


def bound_of(
    messages: Sequence[Any], params: Params | None, metadata: Mapping[str, Any] | None
) -> Bound | None:
    """A bound on input and output; ``None`` where there is none.

    A tokenizer makes at most one token of a byte, so the input has at most as many tokens as
    bytes. Output is bounded by the call's own ``max_tokens``, times its choices. An image, a
    sound or a file has no bound that could be known here.
    """
    params = params or {}
    output = _max_tokens(params, metadata or {})
    sizes = [_bytes(message) for message in messages]
    if output is None or None in sizes:
        return None
    sent = len(_json({name: value for name, value in params.items() if name != "messages"}))
    if params.get("tools") or params.get("functions"):
        sent += _TOKENS_FOR_TOOLS
    total = sum(size or 0 for size in sizes) + _TOKENS_PER_MESSAGE * len(messages)
    return Bound(total + sent, output * (params.get("n") or 1))


def _max_tokens(params: Params, metadata: Mapping[str, Any]) -> int | None:
    nested = params.get("generation_config") or params.get("options")
    for where in (params, nested if isinstance(nested, Mapping) else {}):
        for name in _LIMITS:
            if isinstance(where.get(name), int):
                return int(where[name])
    limit = metadata.get("ls_max_tokens")
    return limit if isinstance(limit, int) else None


def _bytes(message: Any) -> int | None:
    """The bytes of a message or prompt as it is sent, or ``None`` when not all of it is text."""
    if isinstance(message, str):
        return len(message.encode(errors="surrogatepass"))
    content = message.content
    blocks = [content] if isinstance(content, str) else content
    if not all(_is_text(block) for block in blocks):
        return None
    return len(_json([content, getattr(message, "tool_calls", ()), message.additional_kwargs]))


def _is_text(block: Any) -> bool:
    return isinstance(block, str) or (
        isinstance(block, Mapping) and block.get("type") in _TEXT_BLOCKS
    )


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text.encode(errors="surrogatepass")
