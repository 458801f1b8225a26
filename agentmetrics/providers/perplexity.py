"""Perplexity's usage of deep research, whose reasoning and citations are beside the output."""

from __future__ import annotations

from agentmetrics.providers.counts import Count, Counts
from agentmetrics.providers.fields import field


def research_usage(block: object, count: Count) -> Counts:
    """The ``usage`` of ``sonar-deep-research``.

    https://docs.perplexity.ai/getting-started/pricing: citations, searches and reasoning are billed
    beside the two counts, which are all that is in the total. Reasoning is output; the other two
    are tokens of neither way, so that the counts alone are not the bill.
    """
    reasoning = count(field(block, "reasoning_tokens"), "reasoning_tokens")
    received = count(field(block, "completion_tokens"), "completion_tokens")
    return {
        "input_tokens": count(field(block, "prompt_tokens"), "prompt_tokens"),
        "output_tokens": None if received is None else received + (reasoning or 0),
        "reasoning_tokens": reasoning,
        "is_bill": False,
    }
