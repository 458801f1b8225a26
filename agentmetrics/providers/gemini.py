"""Gemini's usage, of the Gemini API and of Vertex AI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

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
    sent_as = _by_modality(block, count, "prompt_tokens_details", "promptTokensDetails")
    received_as = _by_modality(
        block,
        count,
        *("candidates_tokens_details", "candidatesTokensDetails"),
        *("response_tokens_details", "responseTokensDetails"),
    )
    total = said("total_token_count", "totalTokenCount")
    if received is None and sent == total is not None:
        received = 0  # which is left out
    return {
        "input_tokens": sent,
        "output_tokens": received,
        "cache_read_tokens": said("cached_content_token_count", "cachedContentTokenCount"),
        "reasoning_tokens": thoughts,
        "audio_input_tokens": sent_as.get("AUDIO"),
        "audio_output_tokens": received_as.get("AUDIO"),
        "image_input_tokens": sent_as.get("IMAGE"),
        "image_output_tokens": received_as.get("IMAGE", 0 if received_as else None),
        "unknown_tokens": sum_known((*_but(sent_as, _TOLD_OR_AS_TEXT), *_but(received_as, _TOLD))),
        "total_tokens": total,
    }


_TOLD = frozenset({"TEXT", "AUDIO", "IMAGE"})
_TOLD_OR_AS_TEXT = _TOLD | {"VIDEO", "DOCUMENT"}
"""https://ai.google.dev/gemini-api/docs/pricing: the price of input is that of text, image and
video."""


def _by_modality(block: object, count: Count, *names: str) -> dict[str, int]:
    """The ``ModalityTokenCount``, one for each modality, where there are any."""
    counts: dict[str, int] = {}
    for part in (part for name in names for part in parts_of(block, name)):
        modality = field(part, "modality")
        modality = str(getattr(modality, "value", modality))  # google-genai has an enumeration
        tokens = count(first_of(part, (("token_count",), ("tokenCount",))), names[0])
        counts[modality] = counts.get(modality, 0) + (tokens or 0)
    return counts


def _but(counts: Mapping[str, int], known: Set[str]) -> Iterator[int]:
    return (count for modality, count in counts.items() if count and modality not in known)


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
