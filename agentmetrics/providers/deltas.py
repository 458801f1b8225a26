"""Whether a part of a stream says something, or announces and describes what is said."""

from __future__ import annotations

from agentmetrics.providers.fields import field, held

_OUTPUT = (
    "content",
    "text",
    "delta",
    "tool_calls",
    "function",
    "name",
    "tool_call",
    "function_call",
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoningContent",
    "refusal",
    "audio",
    "partial_json",
    "toolUse",
    "arguments",
    "input",
    "tool_plan",
    "message",
    "transcript",
    "data",
    "b64_json",
    "partial_image_b64",
    "citation",
)
"""Where providers put what a model says. What else is in a part announces or describes: its role,
its id, its index, a signature."""

_DEPTH = 6
"""How deep it lies: in Mistral's thinking, text in a list in a block in a list in a delta."""


def has_output(part: object, depth: int = _DEPTH) -> bool:
    """Whether a part of a stream, or any of a list of them, has text, thinking, media or a tool
    call; the first of most streams has a role and no more."""
    if part is None or not depth:
        return False
    if isinstance(part, str | bytes):
        return bool(part)
    if isinstance(part, list | tuple):
        return any(has_output(inner, depth - 1) for inner in held(part))
    return any(has_output(field(part, where), depth - 1) for where in _OUTPUT)
