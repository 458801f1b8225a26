"""The tokens of one call."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from agentmetrics.providers.blocks import counts_of
from agentmetrics.providers.counts import MAX_TOKENS, sum_known, token_count
from agentmetrics.providers.embeddings import embedded_tokens


@dataclass
class Usage:
    """The tokens of one call, as billed by the provider.

    ``input_tokens`` and ``output_tokens`` add up to the total; every other field is a subset of one
    of the two. ``None`` means that the provider did not report the value: unknown is not zero.
    ``cache_creation_1h_tokens`` is the part of ``cache_creation_tokens`` kept for an hour, and
    ``unknown_tokens`` are those of kinds that nobody here knows, so that they have no price.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_creation_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_input_tokens: int | None = None
    image_output_tokens: int | None = None
    unknown_tokens: int | None = None
    has_details: bool = field(default=True, init=False, repr=False, compare=False)
    """False when it is known that no field but the first two says anything."""

    @property
    def is_partial(self) -> bool:
        """Whether the provider left out the tokens of one way, or of both."""
        return self.input_tokens is None or self.output_tokens is None

    @property
    def is_empty(self) -> bool:
        """Whether the provider left out both, and with them everything."""
        return self.input_tokens is None is self.output_tokens

    @property
    def total_tokens(self) -> int:
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(sum_known((getattr(self, n), getattr(other, n))) for n in _COUNTS))

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
        """Usage from counts made elsewhere: whole floats are taken as integers.

        Raises ``ValueError`` when a count is not a whole number of at least 0, or a part exceeds
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
            self.image_input_tokens,
            self.image_output_tokens,
            self.unknown_tokens,
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
        if self.image_input_tokens:
            _check_part("image input", self.image_input_tokens, self.input_tokens)
        if self.image_output_tokens:
            _check_part("image output", self.image_output_tokens, self.output_tokens)
        return self

    @classmethod
    def from_response(cls, response: object) -> Usage | None:
        """Usage from a provider SDK's response object, or from the same as plain data.

        Supports OpenAI (chat completions, responses, completions, embeddings, images,
        transcriptions) and those who speak its wire, Anthropic, Gemini, Bedrock (Converse, and the
        bodies, headers and last chunks of InvokeModel), Cohere (both versions), Ollama, and what
        LangChain, LiteLLM and pydantic-ai make of them, each according to its API reference.
        ``None`` when it
        contains no usage. Raises ``ValueError`` on invalid usage.
        """
        counts = counts_of(response)
        return None if counts is None else cls.of(**counts)

    @classmethod
    def from_embedding(cls, response: object) -> Usage | None:
        """Usage from a provider SDK's response to an embedding or reranking request: input, no
        output.

        Supports OpenAI and compatible APIs, Ollama, Cohere, Gemini on Vertex, and Bedrock's
        headers. ``None`` if the provider does not report it; Cohere's search units are not tokens.
        Raises ``ValueError`` on invalid usage.
        """
        tokens = embedded_tokens(response)
        return None if tokens is None else cls.plain(tokens, 0)


_COUNTS = tuple(f.name for f in fields(Usage) if f.init)


def _check_part(name: str, part: int, whole: int | None) -> None:
    if part > (whole or 0):
        raise ValueError(f"{part} {name} tokens of {whole}: a part cannot exceed the whole")
