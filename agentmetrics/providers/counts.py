"""Counts of tokens, as providers report them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from agentmetrics.providers.fields import field
from agentmetrics.recording.metric import class_name

MAX_TOKENS = 1_000_000_000
"""Above it is no count of tokens of one call: the largest context of any model is 10 million
(https://ai.meta.com/blog/llama-4-multimodal-intelligence/), and the largest of several requests
counted as one, such as a batch of embeddings, is still far below."""

Counts = dict[str, Any]
"""Counts of tokens by the fields of ``Usage``; ``None`` for what the provider did not say.

``total_tokens`` may be beside them, as the provider says it, and ``is_bill`` where that is known.
"""

Count = Callable[[object, str], "int | None"]
"""Makes a count of tokens of what a provider says under a name; ``None`` where that is nothing."""


def token_count(value: object, name: str) -> int | None:
    """A count of tokens as an integer; ``ValueError`` for anything that is none."""
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return None
    if type(value) is float and 0 <= value <= MAX_TOKENS and value.is_integer():
        return int(value)
    raise ValueError(f"{name} is not a valid token count ({class_name(value)})")


class Doubts:
    """What was told and cannot be, of which the first is kept; the rest of the usage counts."""

    def __init__(self) -> None:
        self.first: ValueError | None = None

    def note(self, doubt: ValueError) -> None:
        """Note that something was left out."""
        self.first = self.first or doubt

    def count(self, value: object, name: str) -> int | None:
        """A count of tokens; what is none is noted, and left out."""
        try:
            return token_count(value, name)
        except ValueError as doubt:
            self.note(doubt)
            return None


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
    count: Count,
    *,
    fresh: str,
    output: str,
    read: str,
    created: str,
    created_1h: object = None,
    reasoning: object = None,
) -> Counts:
    """Counts from a block whose count of ``fresh`` input leaves out both kinds of cache."""
    cache_read = count(field(block, read), read)
    cache_creation = count(field(block, created), created)
    uncached = count(field(block, fresh), fresh)
    return {
        "input_tokens": None
        if uncached is None
        else uncached + (cache_read or 0) + (cache_creation or 0),
        "output_tokens": count(field(block, output), output),
        "cache_read_tokens": cache_read,
        "cache_creation_tokens": cache_creation,
        "cache_creation_1h_tokens": count(created_1h, "cache_creation_1h_tokens"),
        "reasoning_tokens": count(reasoning, "reasoning_tokens"),
    }
