"""What the events of a stream say of its call, whoever's stream it is."""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.providers.deltas import has_output
from agentmetrics.providers.events import anthropic, bedrock, cohere, gemini, openai
from agentmetrics.providers.events.ollama import ollama_chunk
from agentmetrics.providers.failures import failure_of
from agentmetrics.providers.fields import field
from agentmetrics.providers.lines import Lines, parsed
from agentmetrics.providers.reading import Read, Reading

_LAYERS = 3
"""How many may be around an event: LlamaIndex's, an SDK's, Bedrock's."""


class StreamReader(Reading):
    """Reads the events of one stream: an SDK's objects, the same as plain data, or its text.

    Knows the streams of OpenAI (chat completions, responses, completions, images, transcriptions)
    and those who speak the first of these, Anthropic, Gemini, Bedrock (Converse, and InvokeModel of
    each family of models), Cohere (both versions), Mistral, Groq and Ollama, and the events of the
    helpers that SDKs have for streams.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines = Lines()

    def read(self, event: object) -> bool:
        """Read an event; whether the model says something in it: text, thinking, a tool call.

        What is no event of a known stream has nothing to say.
        """
        if isinstance(event, str | bytes | bytearray):
            said = [self._read(inner) for inner in self._lines.events(event)]  # all are read
            return any(said)
        return self._read(event)

    @staticmethod
    def knows(response: object) -> bool:
        """Whether it is an event of a stream, and not a response."""
        if _by_type(response) is not None:
            return True
        return any(field(response, where) is not None for where in _OF_EVENTS)

    def _read(self, event: object, layers: int = _LAYERS) -> bool:
        if isinstance(event, str):  # a stream of text alone
            return bool(event)
        # First what comes most often: a field that an SDK's object lacks takes it long to look up.
        if field(event, "choices") is not None and openai.chat_chunk(self, event):
            bedrock.read_metrics(self, event)
            return True
        read = _by_type(event)
        if read is None:
            self.failure = failure_of(event) or self.failure
            read = _by_field(event)
        said = read is not None and read(self, event)
        bedrock.read_metrics(self, event)
        return said or (layers > 0 and self._read_inside(event, layers - 1))

    def _read_inside(self, event: object, layers: int) -> bool:
        """Read the event inside of an SDK's or a framework's."""
        inner = field(event, "chunk")  # OpenAI's helper for chat completions, and Bedrock's
        payload = field(inner, "bytes")
        if payload is not None:
            inner = parsed(payload)
        if inner is None:
            inner = field(event, "data")  # Mistral's SDK
        if inner is not None:
            return not isinstance(inner, str | bytes | list) and self._read(inner, layers)
        raw = field(event, "raw")  # LlamaIndex
        return raw is not None and (self._read(raw, layers) or has_output(field(event, "delta")))


def _by_type(event: object) -> Read | None:
    kind = field(event, "type") or field(event, "event_type")
    if not isinstance(kind, str):
        return None
    return openai.response_event if kind.startswith("response.") else _BY_TYPE.get(kind)


def _by_field(event: object) -> Read | None:
    return next(
        (read for where, read in _BY_FIELD.items() if field(event, where) is not None), None
    )


_OF_EVENTS = ("x_groq", "chunk", "messageStop", "totalOutputTextTokenCount")
"""Fields of events alone."""

_BY_TYPE: Mapping[str, Read] = {
    **openai.BY_TYPE,
    **anthropic.BY_TYPE,
    **cohere.BY_TYPE,
    **gemini.BY_TYPE,
}
_BY_FIELD: Mapping[str, Read] = {
    "choices": openai.last_chunk,
    "candidates": gemini.gemini_response,
    "usage_metadata": gemini.gemini_response,
    "usageMetadata": gemini.gemini_response,
    **bedrock.BY_FIELD,
    "done": ollama_chunk,
    "usage": openai.whole,
}
