"""xAI's usage, whose reasoning is beside the output where everybody else's is a part of it."""

from __future__ import annotations

from agentmetrics.providers.counts import Counts
from agentmetrics.providers.fields import field


def with_reasoning_beside(block: object, counts: Counts) -> Counts:
    """The counts with reasoning as a part of the output; the total tells whether it is one.

    https://docs.x.ai/docs/guides/reasoning: it is billed as output.
    """
    reasoning = counts["reasoning_tokens"]
    if reasoning is None:  # of its own SDK
        reasoning = field(block, "reasoning_tokens")
    sent, received = counts["input_tokens"], counts["output_tokens"]
    if type(sent) is int is type(received) is type(reasoning) and reasoning > 0:
        if field(block, "total_tokens") == sent + received + reasoning:
            return {**counts, "output_tokens": received + reasoning, "reasoning_tokens": reasoning}
    return counts
