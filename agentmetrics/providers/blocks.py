"""Where each provider's response puts its counts of tokens, the model that served and its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from agentmetrics.providers.fields import field

MAX_TOKENS = 2**53
"""Above it is no count of tokens, and a float no longer holds every integer."""

Counts = dict[str, Any]
"""Counts of tokens by the fields of ``Usage``; ``None`` for what the provider did not say."""


def counts_of(response: object) -> Counts | None:
    """The counts in a provider SDK's response, or in the same as plain data; ``None`` without any.

    Raises ``ValueError`` on what counts no tokens.
    """
    for where in _BLOCKS:
        block = field(response, where)
        if block is not None:
            return _of_block(block)
    if field(response, "eval_count") is not None:  # Ollama has no block
        return _of_block(response)
    return None


def _of_block(block: object) -> Counts:
    for marks, read in _EXCLUSIVE:
        if any(field(block, mark) is not None for mark in marks):
            return read(block)
    return {name: _first(block, paths) for name, paths in _SPELLINGS.items()}


def embedded_tokens(response: object) -> Any:
    """The input tokens of an embedding or a reranking; ``None`` where the provider does not say."""
    tokens = _first(response, _EMBEDDING_INPUT)
    if isinstance(tokens, str):  # a header
        return int(tokens)
    return _of_embeddings(response) if tokens is None else tokens


def served_model(response: object) -> str | None:
    """The model that a provider SDK's response names, where it names one."""
    model = _first(response, (("model",), ("model_version",), ("modelVersion",)))
    return model if isinstance(model, str) else None


def provider_seconds(response: object) -> float:
    """The provider's own account of the time a call took, 0 where it gives none.

    Of an embedding: Bedrock's is a header in milliseconds, Ollama's a field in nanoseconds.
    """
    milliseconds = _first(response, ((*_BEDROCK_HEADERS, "x-amzn-bedrock-invocation-latency"),))
    if milliseconds is not None:
        return float(milliseconds) / 1e3
    return float(_first(response, (("total_duration",),)) or 0.0) / 1e9


_Path = tuple[str, ...]
_BLOCKS = ("usage_metadata", "usageMetadata", "usage", "amazon-bedrock-invocationMetrics")
_BEDROCK_HEADERS: _Path = ("ResponseMetadata", "HTTPHeaders")
_EMBEDDING_INPUT: tuple[_Path, ...] = (
    ("usage", "prompt_tokens"),
    ("usage", "total_tokens"),
    ("prompt_eval_count",),
    ("meta", "billed_units", "input_tokens"),
    (*_BEDROCK_HEADERS, "x-amzn-bedrock-input-token-count"),
)


def _tiers(details: str, name: str) -> tuple[_Path, ...]:
    """A detail as messages of frameworks name it, and its names under OpenAI's service tiers."""
    return (details, name), (details, f"flex_{name}"), (details, f"priority_{name}")


_SPELLINGS: Mapping[str, tuple[_Path, ...]] = {
    "input_tokens": (
        ("prompt_tokens",),
        ("input_tokens",),
        ("billed_units", "input_tokens"),  # https://docs.cohere.com/reference/chat
        ("prompt_eval_count",),  # https://docs.ollama.com/api/usage
    ),
    "output_tokens": (
        ("completion_tokens",),
        ("output_tokens",),
        ("billed_units", "output_tokens"),
        ("eval_count",),
    ),
    "cache_read_tokens": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        *_tiers("input_token_details", "cache_read"),
        ("cached_tokens",),
        ("prompt_eval_cached_count",),
        ("prompt_cache_hit_tokens",),  # https://api-docs.deepseek.com/guides/kv_cache
    ),
    "cache_creation_tokens": (
        ("prompt_tokens_details", "cache_write_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
        *_tiers("input_token_details", "cache_creation"),
    ),
    "reasoning_tokens": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        *_tiers("output_token_details", "reasoning"),
    ),
    "audio_input_tokens": (
        ("prompt_tokens_details", "audio_tokens"),
        ("input_token_details", "audio"),
    ),
    "audio_output_tokens": (
        ("completion_tokens_details", "audio_tokens"),
        ("output_token_details", "audio"),
    ),
}


def token_count(value: object, name: str) -> int | None:
    """A count of tokens as an integer; ``ValueError`` for anything that is none."""
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return None
    if type(value) is float and 0 <= value <= MAX_TOKENS and value.is_integer():
        return int(value)
    raise ValueError(f"{name} is not a valid token count ({type(value).__name__})")


def _anthropic(block: object) -> Counts:
    # https://docs.anthropic.com/en/api/messages: input_tokens leaves out both kinds of cache, and
    # all of it leaves out what a compaction took. What an advisor took is another model's.
    counts = _with_cache(
        block,
        fresh="input_tokens",
        output="output_tokens",
        read="cache_read_input_tokens",
        created="cache_creation_input_tokens",
        created_1h=_first(block, (("cache_creation", "ephemeral_1h_input_tokens"),)),
        reasoning=_first(block, (("output_tokens_details", "thinking_tokens"),)),
    )
    for iteration in _parts(block, "iterations"):
        if field(iteration, "type") == "compaction":
            more = _anthropic(iteration)
            counts = {name: sum_known((count, more[name])) for name, count in counts.items()}
    return counts


def _bedrock(block: object) -> Counts:
    # Bedrock's TokenUsage: inputTokens leaves out what was read from or written to the cache.
    return _with_cache(
        block,
        fresh="inputTokens",
        output="outputTokens",
        read="cacheReadInputTokens",
        created="cacheWriteInputTokens",
        created_1h=sum_known(
            token_count(field(part, "inputTokens"), "inputTokens")
            for part in _parts(block, "cacheDetails")
            if field(part, "ttl") == "1h"
        ),
    )


def _bedrock_metrics(block: object) -> Counts:
    # What Bedrock adds to the last chunk that InvokeModel streams.
    return _with_cache(
        block,
        fresh="inputTokenCount",
        output="outputTokenCount",
        read="cacheReadInputTokenCount",
        created="cacheWriteInputTokenCount",
    )


def _bedrock_headers(block: object) -> Counts:
    # The headers of what InvokeModel does not stream, as a package hands them on.
    return _with_cache(
        block,
        fresh="prompt_tokens",
        output="completion_tokens",
        read="cache_read_input_tokens",
        created="cache_write_input_tokens",
    )


def _with_cache(
    block: object,
    *,
    fresh: str,
    output: str,
    read: str,
    created: str,
    created_1h: object = None,
    reasoning: object = None,
) -> Counts:
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


def _gemini(block: object) -> Counts:
    # Gemini's UsageMetadata: thoughts are billed as output and tool-use prompts as input,
    # and neither is in the count beside it.
    def count(snake: str, camel: str) -> int | None:
        return token_count(_first(block, ((snake,), (camel,))), snake)

    thoughts = count("thoughts_token_count", "thoughtsTokenCount")
    return {
        "input_tokens": sum_known(
            (
                count("prompt_token_count", "promptTokenCount"),
                count("tool_use_prompt_token_count", "toolUsePromptTokenCount"),
            )
        ),
        "output_tokens": sum_known(
            (count("candidates_token_count", "candidatesTokenCount"), thoughts)
        ),
        "cache_read_tokens": count("cached_content_token_count", "cachedContentTokenCount"),
        "reasoning_tokens": thoughts,
        "audio_input_tokens": _audio(block, "prompt_tokens_details", "promptTokensDetails"),
        "audio_output_tokens": _audio(
            block, "candidates_tokens_details", "candidatesTokensDetails"
        ),
    }


def _audio(block: object, snake: str, camel: str) -> int | None:
    # Gemini's ModalityTokenCount, one for each modality.
    return sum_known(
        token_count(_first(part, (("token_count",), ("tokenCount",))), snake)
        for part in (*_parts(block, snake), *_parts(block, camel))
        if field(part, "modality") == "AUDIO"
    )


_EXCLUSIVE: tuple[tuple[tuple[str, ...], Callable[[object], Counts]], ...] = (
    (("cache_write_input_tokens",), _bedrock_headers),
    (("cache_read_input_tokens", "cache_creation_input_tokens", "iterations"), _anthropic),
    (("inputTokens",), _bedrock),
    (("inputTokenCount",), _bedrock_metrics),
    (("prompt_token_count", "promptTokenCount"), _gemini),
)


def _of_embeddings(response: object) -> int | None:
    """Gemini on Vertex counts each embedding by itself; a sum of some of them is not the sum."""
    embeddings = field(response, "embeddings")
    if not isinstance(embeddings, list):
        return None
    counts = [
        token_count(_first(embedding, (("statistics", "token_count"),)), "token_count")
        for embedding in embeddings
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _parts(holder: object, name: str) -> Sequence[Any]:
    found = field(holder, name)
    return found if isinstance(found, list | tuple) else ()


def _first(holder: object, paths: Iterable[_Path]) -> Any:
    for path in paths:
        value: Any = holder
        for name in path:
            value = None if value is None else field(value, name)
        if value is not None:
            return value
    return None


def sum_known(counts: Iterable[int | None]) -> int | None:
    """The sum of the counts that are known; ``None`` when none is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
