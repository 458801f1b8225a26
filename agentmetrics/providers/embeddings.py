"""The usage of embeddings and rerankings, which have an input and no output."""

from __future__ import annotations

from typing import Any

from agentmetrics.providers.bedrock import HEADERS, number_in
from agentmetrics.providers.counts import Count, Counts
from agentmetrics.providers.fields import Path, field, first_of, first_part, parts_of


def embedding_counts(response: object, count: Count) -> Counts | None:
    """The counts of an embedding or a reranking; ``None`` for anything else."""
    if field(response, "embeddings") is None and not any(
        field(first_part(response, holder), mark) is not None for holder, mark in _RESULTS
    ):
        return None
    tokens = embedded_tokens(response, count)
    return None if tokens is None else {"input_tokens": tokens, "output_tokens": 0}


def embedded_tokens(response: object, count: Count) -> int | None:
    """The input tokens of an embedding or a reranking; ``None`` where the provider does not say."""
    tokens = first_of(response, _INPUT)
    if tokens is None:
        return _of_each(response, count)
    return count(number_in(tokens), "input_tokens")


_RESULTS = (
    ("data", "embedding"),  # OpenAI, Mistral, Voyage
    ("data", "relevance_score"),  # Voyage
    ("results", "relevance_score"),  # Cohere, Jina
    ("predictions", "embeddings"),  # Vertex
)
_INPUT: tuple[Path, ...] = (
    ("usage", "prompt_tokens"),
    ("usage", "total_tokens"),
    ("prompt_eval_count",),
    ("meta", "billed_units", "input_tokens"),
    (*HEADERS, "x-amzn-bedrock-input-token-count"),
)


def _of_each(response: object, count: Count) -> int | None:
    """Gemini on Vertex counts each embedding by itself; a sum of some of them is not the sum."""
    embeddings: list[Any] = [*parts_of(response, "embeddings")]
    embeddings += [field(each, "embeddings") for each in parts_of(response, "predictions")]
    counts = [count(first_of(each, _STATISTICS), "token_count") for each in embeddings]
    known = [tokens for tokens in counts if tokens is not None]
    return sum(known) if known and len(known) == len(counts) else None


_STATISTICS: tuple[Path, ...] = (("statistics", "token_count"), ("statistics", "tokenCount"))
