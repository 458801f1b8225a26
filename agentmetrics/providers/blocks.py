"""Where each provider's response puts its counts of tokens, and the model that served."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentmetrics.providers.anthropic import anthropic_usage
from agentmetrics.providers.bedrock import (
    METRICS,
    converse_usage,
    header_counts,
    llama_counts,
    passed_on_headers,
    stream_metrics,
    titan_counts,
    with_thinking,
)
from agentmetrics.providers.cohere import cohere_units
from agentmetrics.providers.counts import Count, Counts
from agentmetrics.providers.details import unknown_tokens
from agentmetrics.providers.embeddings import embedding_counts
from agentmetrics.providers.fields import Path, field, first_of
from agentmetrics.providers.gemini import gemini_usage, interaction_usage
from agentmetrics.providers.perplexity import research_usage


def counts_of(response: object, count: Count) -> Counts | None:
    """The counts in a provider SDK's response, or in the same as plain data; ``None`` without any.

    ``count`` makes each of them of what the response says.
    """
    counts = embedding_counts(response, count)
    if counts is not None:
        return counts
    for path in _BLOCKS:
        block = first_of(response, (path,))
        if block is not None:
            counts = with_thinking(response, _of_block(block, count), count)
            unknown = unknown_tokens(block)
            return counts if unknown is None else {**counts, "unknown_tokens": unknown}
    if field(response, "eval_count") is not None:  # Ollama has no block
        return _of_block(response, count)
    for read in (header_counts, llama_counts, titan_counts):
        counts = read(response, count)
        if counts is not None:
            return counts
    return None


def _of_block(block: object, count: Count) -> Counts:
    for needed, marks, read in _EXCLUSIVE:
        if any(field(block, mark) is not None for mark in marks):
            if needed is None or field(block, needed) is not None:
                return read(block, count)
    return _spelled(block, count)


def _spelled(block: object, count: Count) -> Counts:
    return {name: count(first_of(block, paths), name) for name, paths in _SPELLINGS.items()}


def served_model(response: object) -> str | None:
    """The model that a provider SDK's response names, where it names one."""
    model = first_of(response, _MODEL)
    if type(model) is str:
        return model
    # Text of somebody's own class may hash as it likes, and what only claims to be text is none.
    return str.__str__(model) if issubclass(type(model), str) else None


_MODEL: tuple[Path, ...] = (
    ("model",),
    ("model_version",),
    ("modelVersion",),
    ("model_name",),  # pydantic-ai
    ("proto", "model"),  # xAI's SDK
)
_BLOCKS: tuple[Path, ...] = (
    ("usage_metadata",),
    ("usageMetadata",),
    ("usage",),
    (METRICS,),
    ("x_groq", "usage"),  # https://console.groq.com/docs/api-reference: in a stream
    ("meta",),  # https://docs.cohere.com/v1/reference/chat
)


def _tiers(details: str, name: str) -> tuple[Path, ...]:
    """A detail as messages of frameworks name it, and its names under OpenAI's service tiers."""
    return (details, name), (details, f"flex_{name}"), (details, f"priority_{name}")


_SPELLINGS: Mapping[str, tuple[Path, ...]] = {
    "input_tokens": (
        ("prompt_tokens",),
        ("input_tokens",),
        ("prompt_eval_count",),  # https://docs.ollama.com/api/usage
        ("request_tokens",),  # pydantic-ai, before its version 1
    ),
    "output_tokens": (
        ("completion_tokens",),
        ("output_tokens",),
        ("eval_count",),
        ("response_tokens",),
    ),
    "cache_read_tokens": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        *_tiers("input_token_details", "cache_read"),
        ("input_token_details", "cached_tokens"),  # OpenAI's Realtime
        ("cached_tokens",),
        ("prompt_eval_cached_count",),
        ("prompt_cache_hit_tokens",),  # https://api-docs.deepseek.com/guides/kv_cache
        ("cache_read_input_tokens",),  # LiteLLM, beside prompt_tokens that include them
        ("cache_read_tokens",),  # pydantic-ai
        ("cached_prompt_text_tokens",),  # xAI's SDK
    ),
    "cache_creation_tokens": (
        ("prompt_tokens_details", "cache_write_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
        *_tiers("input_token_details", "cache_creation"),
        ("cache_creation_input_tokens",),  # LiteLLM
        ("cache_write_tokens",),  # pydantic-ai
    ),
    "cache_creation_1h_tokens": (
        (  # LiteLLM
            "prompt_tokens_details",
            "cache_creation_token_details",
            "ephemeral_1h_input_tokens",
        ),
    ),
    "reasoning_tokens": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        *_tiers("output_token_details", "reasoning"),
        ("details", "reasoning_tokens"),  # pydantic-ai
        ("reasoning_tokens",),  # xAI's SDK
    ),
    "audio_input_tokens": (
        ("prompt_tokens_details", "audio_tokens"),
        ("input_token_details", "audio"),
        ("input_token_details", "audio_tokens"),  # OpenAI's transcriptions and Realtime
        ("input_audio_tokens",),  # pydantic-ai
    ),
    "audio_output_tokens": (
        ("completion_tokens_details", "audio_tokens"),
        ("output_token_details", "audio"),
        ("output_token_details", "audio_tokens"),
        ("output_audio_tokens",),
    ),
    "image_input_tokens": (
        ("prompt_tokens_details", "image_tokens"),  # xAI, LiteLLM
        ("input_tokens_details", "image_tokens"),  # OpenAI's images
        ("input_token_details", "image_tokens"),  # OpenAI's Realtime
        ("input_token_details", "image"),
    ),
    "image_output_tokens": (
        ("completion_tokens_details", "image_tokens"),  # OpenRouter, LiteLLM
        ("output_tokens_details", "image_tokens"),  # OpenAI's images
        ("output_token_details", "image"),
    ),
    "total_tokens": (("total_tokens",),),
}


_Exclusive = tuple["str | None", tuple[str, ...], Callable[[object, Count], Counts]]
_EXCLUSIVE: tuple[_Exclusive, ...] = (
    (None, ("cache_write_input_tokens",), passed_on_headers),
    ("prompt_tokens", ("citation_tokens", "num_search_queries"), research_usage),
    ("prompt_tokens", ("cache_read_input_tokens", "cache_creation_input_tokens"), _spelled),
    (
        None,
        ("cache_read_input_tokens", "cache_creation_input_tokens", "iterations"),
        anthropic_usage,
    ),
    (None, ("inputTokens",), converse_usage),
    (None, ("inputTokenCount",), stream_metrics),
    (None, ("prompt_token_count", "promptTokenCount"), gemini_usage),
    (None, ("total_input_tokens",), interaction_usage),
    (None, ("billed_units", "tokens"), cohere_units),
)
"""Blocks whose counts mean something else than they say, or are elsewhere: by a field that they
need, fields of which they have at least one, and how they are read."""
