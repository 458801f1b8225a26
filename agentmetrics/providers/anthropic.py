"""Anthropic's usage, whole and as its streams tell it."""

from __future__ import annotations

from typing import Any

from agentmetrics.providers.counts import Count, Counts, sum_known, with_cache
from agentmetrics.providers.fields import field, first_of, parts_of


def anthropic_usage(block: object, count: Count) -> Counts:
    """The ``usage`` of a message.

    https://docs.anthropic.com/en/api/messages: input_tokens leaves out both kinds of cache, and all
    of it leaves out what a compaction took. What an advisor took is another model's.
    """
    counts = with_cache(
        block,
        count,
        fresh="input_tokens",
        output="output_tokens",
        read="cache_read_input_tokens",
        created="cache_creation_input_tokens",
        created_1h=first_of(block, (("cache_creation", "ephemeral_1h_input_tokens"),)),
        reasoning=first_of(block, (("output_tokens_details", "thinking_tokens"),)),
    )
    for iteration in parts_of(block, "iterations"):
        if field(iteration, "type") == "compaction":
            more = anthropic_usage(iteration, count)
            counts = {name: sum_known((told, more[name])) for name, told in counts.items()}
    return counts


_FIELDS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "output_tokens_details",
    "iterations",
)


def usage_so_far(begun: object, block: object = None) -> dict[str, Any]:
    """The ``usage`` of a stream: that of ``message_start``, and over it ``message_delta``'s.

    https://docs.anthropic.com/en/docs/build-with-claude/streaming: the second is of the whole
    stream so far; the output of the first is only of what was there when it was sent.
    """
    counts = {name: field(begun, name) for name in _FIELDS if name != "output_tokens"}
    later = {name: field(block, name) for name in _FIELDS}
    return counts | {name: count for name, count in later.items() if count is not None}
