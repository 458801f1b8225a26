"""Cohere's usage: of chat in both versions of its API."""

from __future__ import annotations

from agentmetrics.providers.counts import Counts
from agentmetrics.providers.fields import field, first_of


def cohere_units(block: object) -> Counts:
    """The ``usage`` of version 2, or the ``meta`` of version 1.

    https://docs.cohere.com/reference/chat: billed_units is what is billed, tokens what the model
    saw, with what Cohere put around the prompt. That is the usage where nothing else is said.
    """
    where = "tokens" if field(block, "billed_units") is None else "billed_units"
    return {
        "input_tokens": first_of(block, ((where, "input_tokens"),)),
        "output_tokens": first_of(block, ((where, "output_tokens"),)),
        "cache_read_tokens": field(block, "cached_tokens"),
    }
