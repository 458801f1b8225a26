"""Cohere's usage: of chat in both versions of its API."""

from __future__ import annotations

from agentmetrics.providers.counts import Count, Counts
from agentmetrics.providers.fields import field, first_of


def cohere_units(block: object, count: Count) -> Counts:
    """The ``usage`` of version 2, or the ``meta`` of version 1.

    https://docs.cohere.com/reference/chat: billed_units is what is billed, tokens what the model
    saw, with what Cohere put around the prompt. That is the usage where nothing else is said, and
    then nobody says what it costs.
    """
    is_bill = field(block, "billed_units") is not None
    where = "billed_units" if is_bill else "tokens"
    return {
        "input_tokens": count(first_of(block, ((where, "input_tokens"),)), "input_tokens"),
        "output_tokens": count(first_of(block, ((where, "output_tokens"),)), "output_tokens"),
        "cache_read_tokens": count(field(block, "cached_tokens"), "cached_tokens"),
        "is_bill": is_bill,
    }
