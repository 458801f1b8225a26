"""Gemini's usage, of the Gemini API and of Vertex AI."""

from __future__ import annotations

from agentmetrics.providers.counts import Counts, sum_known, token_count
from agentmetrics.providers.fields import field, first_of, parts_of


def gemini_usage(block: object) -> Counts:
    """The ``UsageMetadata`` of a response, or of the Live API, which names the output otherwise.

    https://ai.google.dev/api/generate-content#UsageMetadata: thoughts are billed as output and
    tool-use prompts as input, and neither is in the count beside it.
    """

    def count(snake: str, camel: str) -> int | None:
        return token_count(first_of(block, ((snake,), (camel,))), snake)

    thoughts = count("thoughts_token_count", "thoughtsTokenCount")
    candidates = count("candidates_token_count", "candidatesTokenCount")
    if candidates is None:
        candidates = count("response_token_count", "responseTokenCount")
    sent = sum_known(
        (
            count("prompt_token_count", "promptTokenCount"),
            count("tool_use_prompt_token_count", "toolUsePromptTokenCount"),
        )
    )
    received = sum_known((candidates, thoughts))
    if received is None and sent == count("total_token_count", "totalTokenCount") is not None:
        received = 0  # which is left out
    return {
        "input_tokens": sent,
        "output_tokens": received,
        "cache_read_tokens": count("cached_content_token_count", "cachedContentTokenCount"),
        "reasoning_tokens": thoughts,
        "audio_input_tokens": _audio(block, "prompt_tokens_details", "promptTokensDetails"),
        "audio_output_tokens": sum_known(
            (
                _audio(block, "candidates_tokens_details", "candidatesTokensDetails"),
                _audio(block, "response_tokens_details", "responseTokensDetails"),
            )
        ),
    }


def _audio(block: object, snake: str, camel: str) -> int | None:
    """Of the ``ModalityTokenCount``, one for each modality."""
    return sum_known(
        token_count(first_of(part, (("token_count",), ("tokenCount",))), snake)
        for part in (*parts_of(block, snake), *parts_of(block, camel))
        if field(part, "modality") == "AUDIO"
    )


def interaction_usage(block: object) -> Counts:
    """The ``usage`` of an interaction; thoughts and tool-use prompts are beside the rest, too.

    https://ai.google.dev/api/interactions-api
    """

    def count(kind: str) -> int | None:
        return token_count(field(block, f"total_{kind}_tokens"), f"total_{kind}_tokens")

    thoughts = count("thought")
    return {
        "input_tokens": sum_known((count("input"), count("tool_use"))),
        "output_tokens": sum_known((count("output"), thoughts)),
        "cache_read_tokens": count("cached"),
        "reasoning_tokens": thoughts,
    }
