"""The tokens of one call, and where each provider's response puts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

MAX_TOKENS = 2**53
"""Above it is no count of tokens, and a float no longer holds every integer."""


@dataclass
class Usage:
    """Tokens of one call, as the provider billed them.

    ``input_tokens`` and ``output_tokens`` add up to the total; every other field is a subset
    of one of the two. ``None`` means that the provider did not say: unknown is not zero.
    ``cache_creation_1h_tokens`` is the part of ``cache_creation_tokens`` kept for an hour.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_creation_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    has_details: bool = field(default=True, init=False, repr=False, compare=False)
    """False when it is known that no field but the first two says anything."""

    @property
    def is_partial(self) -> bool:
        """Whether the provider left out the tokens of one way, or of both."""
        return self.input_tokens is None or self.output_tokens is None

    @property
    def total_tokens(self) -> int:
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(_sum((getattr(self, name), getattr(other, name))) for name in _COUNTS))

    @classmethod
    def plain(cls, input_tokens: Any, output_tokens: Any) -> Usage:
        """Usage without details, the common case made quickly; ``ValueError`` as for ``of``."""
        if type(input_tokens) is int is type(output_tokens):
            if 0 <= input_tokens <= MAX_TOKENS and 0 <= output_tokens <= MAX_TOKENS:
                usage = cls.__new__(cls)  # whose other fields are the class's defaults
                usage.input_tokens, usage.output_tokens = input_tokens, output_tokens
                usage.has_details = False
                return usage
        return cls.of(input_tokens=input_tokens, output_tokens=output_tokens)

    @classmethod
    def of(cls, **counts: object) -> Usage:
        """Usage from counts that somebody else made: whole floats are taken as integers.

        Raises ``ValueError`` when one is not a whole number of at least 0, or a part is above
        the whole.
        """
        return cls(**{name: token_count(value, name) for name, value in counts.items()}).checked()

    def checked(self) -> Usage:
        """This usage, if it can be: ``ValueError`` otherwise, as for ``of``."""
        for count in (
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_creation_tokens,
            self.cache_creation_1h_tokens,
            self.reasoning_tokens,
            self.audio_input_tokens,
            self.audio_output_tokens,
        ):
            if count is not None and (type(count) is not int or not 0 <= count <= MAX_TOKENS):
                return Usage.of(**{name: getattr(self, name) for name in _COUNTS})
        cached = (self.cache_read_tokens or 0) + (self.cache_creation_tokens or 0)
        if cached:
            _check_part("cached", cached, self.input_tokens)
        if self.cache_creation_1h_tokens:
            _check_part("1 h", self.cache_creation_1h_tokens, self.cache_creation_tokens)
        if self.audio_input_tokens:
            _check_part("audio input", self.audio_input_tokens, self.input_tokens)
        if self.reasoning_tokens:
            _check_part("reasoning", self.reasoning_tokens, self.output_tokens)
        if self.audio_output_tokens:
            _check_part("audio output", self.audio_output_tokens, self.output_tokens)
        return self

    @classmethod
    def from_response(cls, response: object) -> Usage | None:
        """Usage of a provider SDK's response object, or of the same as plain data.

        Understood are OpenAI chat completions and responses, Anthropic messages, Gemini,
        Bedrock Converse and the last chunk of its InvokeModel streams, Cohere, Ollama, and
        LangChain messages, each after its provider's API reference.
        ``None`` when there is no usage in it. Raises ``ValueError`` on usage that cannot be.
        """
        for where in _BLOCKS:
            block = _field(response, where)
            if block is not None:
                return cls._from_block(block)
        if _field(response, "eval_count") is not None:  # Ollama has no block
            return cls._from_block(response)
        return None

    @classmethod
    def from_embedding(cls, response: object) -> Usage | None:
        """Usage of a provider SDK's answer to an embedding or a reranking: input, and no output.

        Understood are OpenAI and what is compatible with it, Ollama, Cohere, Gemini on Vertex,
        and Bedrock's headers. ``None`` where the provider does not say; Cohere's search units
        are no tokens. Raises ``ValueError`` on usage that cannot be.
        """
        tokens = _first(response, _EMBEDDING_INPUT)
        if isinstance(tokens, str):  # a header
            tokens = int(tokens)
        if tokens is None:
            tokens = _of_embeddings(response)
        return None if tokens is None else cls.plain(tokens, 0)

    @classmethod
    def _from_block(cls, block: object) -> Usage:
        for marks, read in _EXCLUSIVE:
            if any(_field(block, mark) is not None for mark in marks):
                return read(block)
        return cls.of(**{name: _first(block, paths) for name, paths in _SPELLINGS.items()})


_COUNTS = tuple(f.name for f in fields(Usage) if f.init)


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
    """LangChain's name of a detail, and its names under OpenAI's service tiers."""
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
    raise ValueError(f"{name} is a {type(value).__name__} that counts no tokens")


def _anthropic(block: object) -> Usage:
    # https://docs.anthropic.com/en/api/messages: input_tokens leaves out both kinds of cache, and
    # all of it leaves out what a compaction took. What an advisor took is another model's.
    usage = _with_cache(
        block,
        fresh="input_tokens",
        output="output_tokens",
        read="cache_read_input_tokens",
        created="cache_creation_input_tokens",
        created_1h=_first(block, (("cache_creation", "ephemeral_1h_input_tokens"),)),
        reasoning=_first(block, (("output_tokens_details", "thinking_tokens"),)),
    )
    for iteration in _parts(block, "iterations"):
        if _field(iteration, "type") == "compaction":
            usage += _anthropic(iteration)
    return usage.checked()


def _bedrock(block: object) -> Usage:
    # Bedrock's TokenUsage: inputTokens leaves out what was read from or written to the cache.
    return _with_cache(
        block,
        fresh="inputTokens",
        output="outputTokens",
        read="cacheReadInputTokens",
        created="cacheWriteInputTokens",
        created_1h=_sum(
            token_count(_field(part, "inputTokens"), "inputTokens")
            for part in _parts(block, "cacheDetails")
            if _field(part, "ttl") == "1h"
        ),
    )


def _bedrock_metrics(block: object) -> Usage:
    # What Bedrock adds to the last chunk that InvokeModel streams.
    return _with_cache(
        block,
        fresh="inputTokenCount",
        output="outputTokenCount",
        read="cacheReadInputTokenCount",
        created="cacheWriteInputTokenCount",
    )


def _bedrock_headers(block: object) -> Usage:
    # langchain-aws, of the headers of what InvokeModel does not stream.
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
) -> Usage:
    cache_read = token_count(_field(block, read), read)
    cache_creation = token_count(_field(block, created), created)
    uncached = token_count(_field(block, fresh), fresh)
    return Usage.of(
        input_tokens=None
        if uncached is None
        else uncached + (cache_read or 0) + (cache_creation or 0),
        output_tokens=_field(block, output),
        cache_read_tokens=cache_read,
        cache_creation_tokens=cache_creation,
        cache_creation_1h_tokens=created_1h,
        reasoning_tokens=reasoning,
    )


def _gemini(block: object) -> Usage:
    # Gemini's UsageMetadata: thoughts are billed as output and tool-use prompts as input,
    # and neither is in the count beside it.
    def count(snake: str, camel: str) -> int | None:
        return token_count(_first(block, ((snake,), (camel,))), snake)

    thoughts = count("thoughts_token_count", "thoughtsTokenCount")
    return Usage.of(
        input_tokens=_sum(
            (
                count("prompt_token_count", "promptTokenCount"),
                count("tool_use_prompt_token_count", "toolUsePromptTokenCount"),
            )
        ),
        output_tokens=_sum((count("candidates_token_count", "candidatesTokenCount"), thoughts)),
        cache_read_tokens=count("cached_content_token_count", "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        audio_input_tokens=_audio(block, "prompt_tokens_details", "promptTokensDetails"),
        audio_output_tokens=_audio(block, "candidates_tokens_details", "candidatesTokensDetails"),
    )


def _audio(block: object, snake: str, camel: str) -> int | None:
    # Gemini's ModalityTokenCount, one for each modality.
    return _sum(
        token_count(_first(part, (("token_count",), ("tokenCount",))), snake)
        for part in (*_parts(block, snake), *_parts(block, camel))
        if _field(part, "modality") == "AUDIO"
    )


_EXCLUSIVE: tuple[tuple[tuple[str, ...], Callable[[object], Usage]], ...] = (
    (("cache_write_input_tokens",), _bedrock_headers),
    (("cache_read_input_tokens", "cache_creation_input_tokens", "iterations"), _anthropic),
    (("inputTokens",), _bedrock),
    (("inputTokenCount",), _bedrock_metrics),
    (("prompt_token_count", "promptTokenCount"), _gemini),
)


def _of_embeddings(response: object) -> int | None:
    """Gemini on Vertex counts each embedding by itself; a sum of some of them is not the sum."""
    embeddings = _field(response, "embeddings")
    if not isinstance(embeddings, list):
        return None
    counts = [
        token_count(_first(embedding, (("statistics", "token_count"),)), "token_count")
        for embedding in embeddings
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _check_part(name: str, part: int, whole: int | None) -> None:
    if part > (whole or 0):
        raise ValueError(f"{part} {name} tokens of {whole}: a part is not above the whole")


def _field(holder: object, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _parts(holder: object, name: str) -> Sequence[Any]:
    found = _field(holder, name)
    return found if isinstance(found, list | tuple) else ()


def _first(holder: object, paths: Iterable[_Path]) -> Any:
    for path in paths:
        value: Any = holder
        for name in path:
            value = None if value is None else _field(value, name)
        if value is not None:
            return value
    return None


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
