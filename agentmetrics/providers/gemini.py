"""Gemini's usage, of the Gemini API and of Vertex AI."""

from __future__ import annotations

from agentmetrics.providers.counts import Count, Counts, sum_known
from agentmetrics.providers.fields import field, first_of, parts_of


def gemini_usage(block: object, count: Count) -> Counts:
    """The ``UsageMetadata`` of a response, or of the Live API, which names the output otherwise.

    https://ai.google.dev/api/generate-content#UsageMetadata: thoughts are billed as output and
    tool-use prompts as input, and neither is in the count beside it.
    """

    def said(snake: str, camel: str) -> int | None:
        return count(first_of(block, ((snake,), (camel,))), snake)

    thoughts = said("thoughts_token_count", "thoughtsTokenCount")
    candidates = said("candidates_token_count", "candidatesTokenCount")
    if candidates is None:
        candidates = said("response_token_count", "responseTokenCount")
    sent = sum_known(
        (
            said("prompt_token_count", "promptTokenCount"),
            said("tool_use_prompt_token_count", "toolUsePromptTokenCount"),
        )
    )
    received = sum_known((candidates, thoughts))
    total = said("total_token_count", "totalTokenCount")
    if received is None and sent == total is not None:
        received = 0  # which is left out
    return {
        "input_tokens": sent,
        "output_tokens": received,
        "cache_read_tokens": said("cached_content_token_count", "cachedContentTokenCount"),
        "reasoning_tokens": thoughts,
        "audio_input_tokens": _audio(block, count, "prompt_tokens_details", "promptTokensDetails"),
        "audio_output_tokens": sum_known(
            (
                _audio(block, count, "candidates_tokens_details", "candidatesTokensDetails"),
                _audio(block, count, "response_tokens_details", "responseTokensDetails"),
            )
        ),
        "total_tokens": total,
    }


def _audio(block: object, count: Count, snake: str, camel: str) -> int | None:
    """Of the ``ModalityTokenCount``, one for each modality."""
    return sum_known(
        count(first_of(part, (("token_count",), ("tokenCount",))), snake)
        for part in (*parts_of(block, snake), *parts_of(block, camel))
        if field(part, "modality") == "AUDIO"
    )


def interaction_usage(block: object, count: Count) -> Counts:
    """The ``usage`` of an interaction; thoughts and tool-use prompts are beside the rest, too.

    https://ai.google.dev/api/interactions-api
    """

    def said(kind: str) -> int | None:
        return count(field(block, f"total_{kind}_tokens"), f"total_{kind}_tokens")

    thoughts = said("thought")
    return {
        "input_tokens": sum_known((said("input"), said("tool_use"))),
        "output_tokens": sum_known((said("output"), thoughts)),
        "cache_read_tokens": said("cached"),
        "reasoning_tokens": thoughts,
        "total_tokens": count(field(block, "total_tokens"), "total_tokens"),
    }
