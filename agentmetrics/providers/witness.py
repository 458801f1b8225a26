"""What goes together of the counts of one call, with the provider's own total as a witness."""

from __future__ import annotations

import re

from agentmetrics.providers.counts import Counts, Doubts

_CACHED = ("cache_read_tokens", "cache_creation_tokens")
PARTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (_CACHED, "input_tokens"),
    (("cache_creation_1h_tokens",), "cache_creation_tokens"),
    (("audio_input_tokens",), "input_tokens"),
    (("reasoning_tokens",), "output_tokens"),
    (("audio_output_tokens",), "output_tokens"),
    (("image_input_tokens",), "input_tokens"),
    (("image_output_tokens",), "output_tokens"),
)
"""Counts that together are a part of another one."""

_GEMINI = re.compile(r"(?:\w+/)*gemini-")


def settle(counts: Counts, model: str, doubts: Doubts) -> None:
    """Put what a total shows to stand outside into its whole, and leave out what cannot be a part.

    ``model`` is the one that served, where that is known. Only details are left out: input and
    output stand alone.
    """
    total = counts.pop("total_tokens", None)
    if total:  # packages write 0 for what they were not told
        _hear(counts, total, model, doubts)
    for names, whole in PARTS:
        _check(counts, names, whole, doubts)


def _hear(counts: Counts, total: int, model: str, doubts: Doubts) -> None:
    """Explain the difference between the total and its parts.

    https://docs.x.ai/docs/guides/reasoning: xAI's reasoning is billed as output, and outside of it.
    https://ai.google.dev/gemini-api/docs/openai: Gemini's thoughts, billed as output, too, are in
    the total alone there. Bedrock's total may be of the input beside its cache.
    """
    sent, received = counts.get("input_tokens"), counts.get("output_tokens")
    if sent is None or received is None:
        return
    gap = total - sent - received
    reasoning = counts.get("reasoning_tokens") or 0
    cached = sum(counts.get(name) or 0 for name in _CACHED)
    if gap in (0, -cached):
        return
    if gap == reasoning:
        counts["output_tokens"] = received + reasoning
    elif gap == cached:
        counts["input_tokens"] = sent + cached
    elif gap == reasoning + cached:
        counts["input_tokens"], counts["output_tokens"] = sent + cached, received + reasoning
    elif gap > 0 and not reasoning and _GEMINI.match(model):
        counts["output_tokens"], counts["reasoning_tokens"] = received + gap, gap
    else:
        doubts.note(ValueError(f"a total of {total} tokens for {sent} and {received}"))


def _check(counts: Counts, names: tuple[str, ...], whole: str, doubts: Doubts) -> None:
    most = counts.get(whole) or 0
    for name in names:
        if (counts.get(name) or 0) > most:
            _leave_out(counts, (name,), whole, doubts)
    if sum(counts.get(name) or 0 for name in names) > most:
        _leave_out(counts, names, whole, doubts)


def _leave_out(counts: Counts, names: tuple[str, ...], whole: str, doubts: Doubts) -> None:
    told = sum(counts.get(name) or 0 for name in names)
    doubts.note(
        ValueError(
            f"{told} {' and '.join(names)} of {counts.get(whole)} {whole}: "
            "a part cannot exceed the whole"
        )
    )
    for name in names:
        counts[name] = None
