"""Counts of tokens, as providers report them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from agentmetrics.providers.fields import field
from agentmetrics.recording.metric import class_name

MAX_TOKENS = 1_000_000_000
"""Above it is no count of tokens of one call: the largest context of any model is 10 million
(https://ai.meta.com/blog/llama-4-multimodal-intelligence/), and the largest of several requests
counted as one, such as a batch of embeddings, is still far below."""

Counts = dict[str, Any]
"""Counts of tokens by the fields of ``Usage``; ``None`` for what the provider did not say."""


def token_count(value: object, name: str) -> int | None:
    """A count of tokens as an integer; ``ValueError`` for anything that is none."""
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return None
    if type(value) is float and 0 <= value <= MAX_TOKENS and value.is_integer():
        return int(value)
    raise ValueError(f"{name} is not a valid token count ({class_name(value)})")


def bound_of(value: Any, name: str) -> int:
    """The most tokens that a call can use, as the program says; whole numbers of any class.

    ``ValueError`` for anything else: what is not understood bounds nothing.
    """
    if not issubclass(type(value), bool | str | bytes):
        with suppress(Exception):  # somebody's own class
            number = int(value)
            if number == value and 0 <= number <= MAX_TOKENS:
                return number
    raise ValueError(f"{name} is no number of tokens ({class_name(value)})")


def sum_known(counts: Iterable[int | None]) -> int | None:
    """The sum of the counts that are known; ``None`` when none is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def with_cache(
    block: object,
    *,
    fresh: str,
    output: str,
    read: str,
    created: str,
    created_1h: object = None,
    reasoning: object = None,
) -> Counts:
    """Counts from a block whose count of ``fresh`` input leaves out both kinds of cache."""
    cache_read = token_count(field(block, read), read)
    cache_creation = token_count(field(block, created), created)
    uncached = token_count(field(block, fresh), fresh)
    return {
        "input_tokens": None
        if uncached is None
        else uncached + (cache_read or 0) + (cache_creation or 0),
        "output_tokens": token_count(field(block, output), output),
        "cache_read_tokens": cache_read,
        "cache_creation_tokens": cache_creation,
        "cache_creation_1h_tokens": token_count(created_1h, "cache_creation_1h_tokens"),
        "reasoning_tokens": token_count(reasoning, "reasoning_tokens"),
    }
