"""Bedrock's usage: Converse's, InvokeModel's headers and metrics, and its own models' bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agentmetrics.providers.counts import Count, Counts, sum_known, with_cache
from agentmetrics.providers.fields import field, first_of, parts_of

METRICS = "amazon-bedrock-invocationMetrics"
"""What Bedrock adds to the last chunk of every stream of InvokeModel."""

HEADERS = ("ResponseMetadata", "HTTPHeaders")
"""Where botocore keeps the headers of a response."""

_HEADER = "x-amzn-bedrock-"
INPUT_HEADER = f"{_HEADER}input-token-count"


def converse_usage(block: object, count: Count) -> Counts:
    """The ``usage`` of Converse, and of Nova's own format, which names the cache otherwise.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html: inputTokens
    leaves out what was read from or written to the cache.
    """
    is_nova = field(block, "cacheReadInputTokenCount") is not None
    counts = with_cache(
        block,
        count,
        fresh="inputTokens",
        output="outputTokens",
        read="cacheReadInputTokenCount" if is_nova else "cacheReadInputTokens",
        created="cacheWriteInputTokenCount" if is_nova else "cacheWriteInputTokens",
        created_1h=sum_known(
            count(field(part, "inputTokens"), "inputTokens")
            for part in parts_of(block, "cacheDetails")
            if field(part, "ttl") == "1h"
        ),
    )
    return {**counts, "total_tokens": count(field(block, "totalTokens"), "totalTokens")}


def with_thinking(response: object, counts: Counts, count: Count) -> Counts:
    """The counts of Converse with what the model itself says of its thinking.

    That has to be asked for: ``additionalModelResponseFieldPaths=["/usage"]``.
    """
    thinking = first_of(response, (_THINKING,))
    if thinking is None:
        return counts
    return {**counts, "reasoning_tokens": count(thinking, "thinking_tokens")}


_THINKING = ("additionalModelResponseFields", "usage", "output_tokens_details", "thinking_tokens")


def stream_metrics(block: object, count: Count) -> Counts:
    """The metrics that Bedrock adds to the last chunk that InvokeModel streams."""
    return with_cache(
        block,
        count,
        fresh="inputTokenCount",
        output="outputTokenCount",
        read="cacheReadInputTokenCount",
        created="cacheWriteInputTokenCount",
    )


def passed_on_headers(block: object, count: Count) -> Counts:
    """The headers of what InvokeModel does not stream, as langchain-aws hands them on."""
    return with_cache(
        block,
        count,
        fresh="prompt_tokens",
        output="completion_tokens",
        read="cache_read_input_tokens",
        created="cache_write_input_tokens",
    )


def header_counts(response: object, count: Count) -> Counts | None:
    """The headers of what InvokeModel does not stream, from what boto3 returns; else ``None``.

    They are there whichever model it is, and leave out the cache.
    """
    headers = first_of(response, (HEADERS,))
    if not isinstance(headers, Mapping) or headers.get(INPUT_HEADER) is None:
        return None
    told = {name: number_in(headers.get(f"{_HEADER}{name}-token-count")) for name in _IN_HEADERS}
    return with_cache(
        told,
        count,
        fresh="input",
        output="output",
        read="cache-read-input",
        created="cache-write-input",
    )


_IN_HEADERS = ("input", "output", "cache-read-input", "cache-write-input")


def number_in(text: object) -> object:
    """The number in a header; what is none stays as it is."""
    return int(text) if isinstance(text, str) and _DIGITS.fullmatch(text) else text


_DIGITS = re.compile(r"[0-9]{1,18}")
"""Of an integer that is quickly made; more are no count of tokens."""


def llama_counts(response: object, count: Count) -> Counts | None:
    """The body of Meta's models; ``None`` for anything else.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html
    """
    if field(response, "generation") is None:  # LangChain's sums of its chunks' counts have none
        return None
    return {
        "input_tokens": count(field(response, "prompt_token_count"), "prompt_token_count"),
        "output_tokens": count(field(response, "generation_token_count"), "generation_token_count"),
    }


def titan_counts(response: object, count: Count) -> Counts | None:
    """The body of Amazon's Titan models, a chunk of their streams, or their embeddings; else
    ``None``.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html
    """
    prompt = field(response, "inputTextTokenCount")
    total = field(response, "totalOutputTextTokenCount")
    if all(field(response, text) is None for text in ("results", "outputText", "embedding")):
        return None
    if field(response, "embedding") is not None:
        total = 0
    elif total is None:
        replies = [field(result, "tokenCount") for result in parts_of(response, "results")]
        total = sum_known(count(tokens, "tokenCount") for tokens in replies)
    return {
        "input_tokens": count(prompt, "inputTextTokenCount"),
        "output_tokens": count(total, "totalOutputTextTokenCount"),
    }
