"""The tokens of one call."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from agentmetrics.providers.blocks import counts_of, served_model
from agentmetrics.providers.counts import MAX_TOKENS, Counts, Doubts, sum_known, token_count
from agentmetrics.providers.embeddings import embedded_tokens
from agentmetrics.providers.witness import settle


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
    is_bill: bool = field(default=True, init=False, repr=False, compare=False)
    """False when it is known that these are not all the counts that are billed, or that a part of
    what was told is not understood: then nobody can say what the call cost."""
    doubt: ValueError | None = field(default=None, init=False, repr=False, compare=False)
    """Why something that was told was left out, since it cannot be."""

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
        both = Usage(*(sum_known((getattr(self, n), getattr(other, n))) for n in _COUNTS))
        return both._but(self.is_bill and other.is_bill, self.doubt or other.doubt)

    @classmethod
    def plain(cls, input_tokens: Any, output_tokens: Any) -> Usage:
        """Usage without details, the common case made quickly; as ``told`` where it cannot be."""
        if type(input_tokens) is int is type(output_tokens):
            if 0 <= input_tokens <= MAX_TOKENS and 0 <= output_tokens <= MAX_TOKENS:
                usage = cls.__new__(cls)  # whose other fields are the class's defaults
                usage.input_tokens, usage.output_tokens = input_tokens, output_tokens
                usage.has_details = False
                return usage
        return cls.told({"input_tokens": input_tokens, "output_tokens": output_tokens})

    @classmethod
    def of(cls, **counts: object) -> Usage:
        """Usage from counts made elsewhere: whole floats are taken as integers.

        Raises ``ValueError`` when a count is not a whole number of at least 0, or a part exceeds
        the whole.
        """
        usage = cls.told({name: token_count(value, name) for name, value in counts.items()})
        if usage.doubt is not None:
            raise usage.doubt
        return usage

    @classmethod
    def told(cls, counts: Counts, model: str = "", doubts: Doubts | None = None) -> Usage:
        """Usage from what somebody else said, as far as it can be: the rest is left out, and that
        is the ``doubt``.

        ``counts`` are those of ``of``; beside them may be ``total_tokens``, the witness of what is
        in which, and ``is_bill``. ``model`` is the one that served, where that is known.
        """
        doubts = doubts or Doubts()
        known = {n: doubts.count(value, n) for n, value in counts.items() if n != "is_bill"}
        settle(known, model, doubts)
        return cls(**known)._but(counts.get("is_bill", True), doubts.first)

    @property
    def counts(self) -> Counts:
        """All of its counts, by name."""
        return {name: getattr(self, name) for name in _COUNTS}

    def but_with(self, **counts: Any) -> Usage:
        """This usage with other counts in these fields."""
        return replace(self, **counts)._but(self.is_bill, self.doubt)

    @property
    def as_told(self) -> Usage:
        """This usage, if it can be, or what is left of it; the rest is its ``doubt``."""
        if self.doubt is not None or self.stands:
            return self
        return Usage.told({**self.counts, "is_bill": self.is_bill})

    def checked(self) -> Usage:
        """This usage, if it can be: ``ValueError`` otherwise, as for ``of``."""
        if self.stands:
            return self
        return Usage.of(**self.counts)._but(self.is_bill, self.doubt)

    def _but(self, is_bill: bool, doubt: ValueError | None) -> Usage:
        """This usage, with what is to be said of it; of most there is nothing."""
        if doubt is not None:
            self.doubt = doubt
        if doubt is not None or not is_bill:
            self.is_bill = False
        return self

    @property
    def stands(self) -> bool:
        """Whether all of it are counts, and those of the parts at most those of the whole."""
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
                return False
        sent, received = self.input_tokens or 0, self.output_tokens or 0
        created = self.cache_creation_tokens or 0
        return (
            (self.cache_read_tokens or 0) + created <= sent
            and (self.cache_creation_1h_tokens or 0) <= created
            and (self.audio_input_tokens or 0) <= sent
            and (self.reasoning_tokens or 0) <= received
            and (self.audio_output_tokens or 0) <= received
            and (self.image_input_tokens or 0) <= sent
            and (self.image_output_tokens or 0) <= received
        )

    @classmethod
    def from_response(cls, response: object) -> Usage | None:
        """Usage from a provider SDK's response object, or from the same as plain data.

        Supports OpenAI (chat completions, responses, completions, embeddings, images,
        transcriptions) and those who speak its wire, Anthropic, Gemini, Bedrock (Converse, and the
        bodies, headers and last chunks of InvokeModel), Cohere (both versions), Ollama, and what
        LangChain, LiteLLM and pydantic-ai make of them, each according to its API reference.
        ``None`` when it
        contains no usage. What cannot be is left out, and is the ``doubt`` of the rest.
        """
        doubts = Doubts()
        counts = counts_of(response, doubts.count)
        if counts is None and doubts.first is None:
            return None
        return cls.told(counts or {}, served_model(response) or "", doubts)

    @classmethod
    def from_embedding(cls, response: object) -> Usage | None:
        """Usage from a provider SDK's response to an embedding or reranking request: input, no
        output.

        Supports OpenAI and compatible APIs, Ollama, Cohere, Gemini on Vertex, and Bedrock's
        headers. ``None`` if the provider does not report it; Cohere's search units are not tokens.
        Raises ``ValueError`` on invalid usage.
        """
        tokens = embedded_tokens(response, token_count)
        return None if tokens is None else cls.of(input_tokens=tokens, output_tokens=0)


_COUNTS = tuple(f.name for f in fields(Usage) if f.init)
