"""What the events of a stream say of its call: usage, the model that served, why it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from agentmetrics.providers.anthropic import usage_so_far
from agentmetrics.providers.bedrock import METRICS
from agentmetrics.providers.blocks import served_model
from agentmetrics.providers.deltas import has_output
from agentmetrics.providers.failures import ErrorInResponse, failure_of
from agentmetrics.providers.fields import field, first_of, parts_of
from agentmetrics.providers.finish_reasons import (
    REFUSAL,
    STOP,
    TOOL_CALLS,
    finish_reason_of,
    meaning_of,
)
from agentmetrics.providers.lines import Lines, parsed
from agentmetrics.providers.service_tier import service_tier_of
from agentmetrics.providers.usage import Usage


class StreamReader:
    """Reads the events of one stream: an SDK's objects, the same as plain data, or its text.

    Knows the streams of OpenAI (chat completions, responses, completions, images, transcriptions)
    and those who speak the first of these, Anthropic, Gemini, Bedrock (Converse, and InvokeModel of
    each family of models), Cohere (both versions), Mistral, Groq and Ollama, and the events of the
    helpers that SDKs have for streams. Counts are always those of the whole stream so far, as the
    provider tells them: they are never added up.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.served_model = ""
        self.service_tier = ""
        self.failure: ErrorInResponse | None = None
        self._reason = ""
        self._calls_tool = False
        self._refuses = False
        self._begun: Any = None  # what an earlier event has for a later one
        self._lines = Lines()

    @property
    def finish_reason(self) -> str:
        """Why the model stopped, as ``finish_reason_of`` says it."""
        if self._reason == STOP:
            if self._calls_tool:
                return TOOL_CALLS
            if self._refuses:
                return REFUSAL
        return self._reason

    def read(self, event: object) -> bool:
        """Read an event; whether the model says something in it: text, thinking, a tool call.

        What is no event of a known stream has nothing to say. Raises ``ValueError`` on counts of
        tokens that cannot be.
        """
        if isinstance(event, str | bytes | bytearray):
            said = [self._read(inner) for inner in self._lines.events(event)]  # all are read
            return any(said)
        return self._read(event)

    def take(self, response: object) -> None:
        """Read a whole response, or the last event of a stream that is in place of one.

        Raises ``ValueError`` as ``read`` does.
        """
        self.failure = failure_of(response)
        self._serve(response)
        self._reason = finish_reason_of(response) or self._reason
        self._count(response)

    @staticmethod
    def knows(response: object) -> bool:
        """Whether it is an event of a stream, and not a response."""
        kind = field(response, "type") or field(response, "event_type")
        if isinstance(kind, str) and (kind in _BY_TYPE or kind.partition(".")[0] in _BY_FAMILY):
            return True
        return any(field(response, where) is not None for where in _OF_EVENTS)

    def _read(self, event: object) -> bool:
        self.failure = failure_of(event) or self.failure
        kind = field(event, "type") or field(event, "event_type")
        if isinstance(kind, str):
            read = _BY_TYPE.get(kind) or _BY_FAMILY.get(kind.partition(".")[0])
            if read is not None:
                said = read(self, event)
                self._read_metrics(event)
                return said
        for where, read in _BY_FIELD:
            if field(event, where) is not None:
                said = read(self, event)
                self._read_metrics(event)
                return said
        return isinstance(event, str) and bool(event)

    def _serve(self, response: object) -> None:
        self._name_model(response)
        self.service_tier = service_tier_of(response) or self.service_tier

    def _name_model(self, response: object) -> None:
        response_id = field(response, "id")
        if isinstance(response_id, str) and response_id.startswith(_ELSEWHERE):
            return
        self.served_model = served_model(response) or self.served_model

    def _count(self, response: object) -> None:
        usage = Usage.from_response(response)
        if usage is not None and not usage.is_empty:
            self.usage = usage

    def _read_metrics(self, event: object) -> None:
        # Bedrock's own, on the last chunk of whatever model; they leave out details.
        if isinstance(event, Mapping) and METRICS in event:
            before = self.usage
            self._count({METRICS: event[METRICS]})
            if before is not None and self.usage is not None:
                kept = {name: getattr(before, name) for name in _LEFT_OUT}
                try:
                    self.usage = replace(self.usage, **kept).checked()
                except ValueError:  # they do not go together, and the metrics are the bill
                    return

    # OpenAI, and those who speak its wire

    def _chat(self, event: object) -> bool:
        if not self.served_model:
            self.served_model = served_model(event) or ""
        tier = field(event, "service_tier")
        if tier is not None:
            self._serve(event)
        groq = field(event, "x_groq")
        for holder in (event, groq):
            if holder is not None and field(holder, "usage") is not None:
                self._count(holder)
        said = False
        for choice in parts_of(event, "choices"):
            delta = field(choice, "delta")
            if delta is None:
                delta = field(choice, "message")
            said |= has_output(choice if delta is None else delta)
            self._calls_tool |= bool(field(delta, "tool_calls") or field(delta, "function_call"))
            self._refuses |= bool(field(delta, "refusal"))
            word = field(choice, "finish_reason") or field(choice, "stop_reason")
            if word and not field(choice, "index") and not self._reason:
                self._reason = meaning_of(getattr(word, "name", word))
        return said

    def _response_event(self, event: object) -> bool:
        # https://platform.openai.com/docs/api-reference/responses-streaming, and Realtime's
        response = field(event, "response")
        if response is not None:
            if field(event, "type") in _ENDS:
                self.take(response)
            else:
                self._name_model(response)
            return False
        kind: str = field(event, "type")
        if kind == "response.refusal.delta":
            self._refuses = True
        if kind.endswith((".delta", ".partial_image")):
            return has_output(event)
        return False

    def _whole(self, event: object) -> bool:
        """An event that is the response, such as the last of OpenAI's images or transcripts."""
        self.take(event)
        return has_output(event)

    def _delta(self, event: object) -> bool:
        return has_output(event)

    def _tool_delta(self, event: object) -> bool:
        self._calls_tool = True
        return True

    def _inner_chunk(self, event: object) -> bool:
        return self._read(field(event, "chunk"))

    # Anthropic

    def _message_start(self, event: object) -> bool:
        # https://docs.anthropic.com/en/docs/build-with-claude/streaming: its count of output is of
        # what was there when it was sent, and message_delta's counts stand for the whole.
        message = field(event, "message")
        self._serve(message)
        self._begun = field(message, "usage")
        if self._begun is not None:
            self._count({"usage": usage_so_far(self._begun)})
        return False

    def _message_delta(self, event: object) -> bool:
        word = field(field(event, "delta"), "stop_reason")
        self._reason = meaning_of(word) or self._reason
        block = field(event, "usage")
        if block is not None:
            self._count({"usage": usage_so_far(self._begun, block)})
        return False

    def _block_start(self, event: object) -> bool:
        block = field(event, "content_block")
        kind = field(block, "type")
        return (isinstance(kind, str) and kind.endswith("_use")) or has_output(block)

    def _block_delta(self, event: object) -> bool:
        return has_output(field(event, "delta"))

    def _nothing(self, event: object) -> bool:
        return False

    # Cohere

    def _cohere_content(self, event: object) -> bool:
        message = field(field(event, "delta"), "message")
        return has_output(field(message, "content"))

    def _cohere_end(self, event: object) -> bool:
        self.take(field(event, "delta"))
        return False

    def _cohere_v1_end(self, event: object) -> bool:
        self.take(field(event, "response"))
        self._reason = meaning_of(field(event, "finish_reason")) or self._reason
        return False

    # Gemini

    def _gemini(self, event: object) -> bool:
        # Each response has the counts of all of it so far.
        self._serve(event)
        if first_of(event, (("usage_metadata",), ("usageMetadata",))) is not None:
            self._count(event)
        said = False
        for position, candidate in enumerate(parts_of(event, "candidates")):
            for part in parts_of(field(candidate, "content"), "parts"):
                call = first_of(part, (("function_call",), ("functionCall",)))
                self._calls_tool |= call is not None
                said |= call is not None or _gemini_says(part)
            word = first_of(candidate, (("finish_reason",), ("finishReason",)))
            if word is not None and not position:
                self._reason = meaning_of(getattr(word, "name", word)) or self._reason
        return said

    # Bedrock

    def _converse_start(self, event: object) -> bool:
        start = field(field(event, "contentBlockStart"), "start")
        called = field(start, "toolUse") is not None
        self._calls_tool |= called
        return called

    def _converse_delta(self, event: object) -> bool:
        return has_output(field(field(event, "contentBlockDelta"), "delta"))

    def _converse_stop(self, event: object) -> bool:
        self._begun = field(event, "messageStop")
        self._reason = finish_reason_of(self._begun) or self._reason
        return False

    def _converse_metadata(self, event: object) -> bool:
        metadata = field(event, "metadata")
        self.service_tier = service_tier_of(metadata) or self.service_tier
        asked = field(self._begun, "additionalModelResponseFields")
        self._count({"usage": field(metadata, "usage"), "additionalModelResponseFields": asked})
        return False

    def _invoke_chunk(self, event: object) -> bool:
        chunk = field(event, "chunk")
        payload = field(chunk, "bytes")
        return self._read(chunk if payload is None else parsed(payload))

    def _llama(self, event: object) -> bool:
        # The prompt's count is on the first chunk alone, and the other is of all chunks so far.
        prompt = field(event, "prompt_token_count")
        self._begun = prompt if self._begun is None else self._begun
        self._count(
            {
                "prompt_token_count": self._begun,
                "generation_token_count": field(event, "generation_token_count"),
            }
        )
        self._reason = meaning_of(field(event, "stop_reason")) or self._reason
        return has_output(field(event, "generation"))

    def _titan(self, event: object) -> bool:
        self._reason = meaning_of(field(event, "completionReason")) or self._reason
        self._count(event)
        return has_output(field(event, "outputText"))

    def _texts(self, event: object) -> bool:
        """Mistral's text models and Cohere's on Bedrock, which send parts of responses."""
        self.take(event)
        texts = (*parts_of(event, "outputs"), *parts_of(event, "generations"))
        return any(has_output(field(text, "text")) for text in texts)

    # Ollama

    def _ollama(self, event: object) -> bool:
        self.served_model = served_model(event) or self.served_model
        message = field(event, "message")
        self._calls_tool |= bool(field(message, "tool_calls"))
        if field(event, "done"):
            self.take(event)
        return has_output(message) or has_output(
            (field(event, "response"), field(event, "thinking"))
        )

    # What has an event inside

    def _data(self, event: object) -> bool:
        data = field(event, "data")
        return self._read(data) if not isinstance(data, list | str | bytes) else False

    def _raw(self, event: object) -> bool:
        said = self._read(field(event, "raw"))
        return said or has_output(field(event, "delta"))


_LEFT_OUT = ("cache_creation_1h_tokens", "reasoning_tokens")
_Read = Callable[[StreamReader, Any], bool]

_BY_TYPE: Mapping[str, _Read] = {
    # https://docs.anthropic.com/en/api/messages-streaming; the others are of its SDK's helper,
    # beside the events that they are made of
    "message_start": StreamReader._message_start,
    "message_delta": StreamReader._message_delta,
    "message_stop": StreamReader._nothing,
    "content_block_start": StreamReader._block_start,
    "content_block_delta": StreamReader._block_delta,
    "content_block_stop": StreamReader._nothing,
    "text": StreamReader._delta,
    "thinking": StreamReader._delta,
    "ping": StreamReader._nothing,
    # https://docs.cohere.com/v2/docs/streaming, and version 1's
    "message-start": StreamReader._nothing,
    "content-start": StreamReader._cohere_content,
    "content-delta": StreamReader._cohere_content,
    "tool-plan-delta": StreamReader._delta,
    "tool-call-start": StreamReader._tool_delta,
    "tool-call-delta": StreamReader._tool_delta,
    "message-end": StreamReader._cohere_end,
    "text-generation": StreamReader._delta,
    "tool-calls-chunk": StreamReader._tool_delta,
    "tool-calls-generation": StreamReader._tool_delta,
    "stream-end": StreamReader._cohere_v1_end,
    # The helper of OpenAI's SDK for chat completions, whose other events come of a chunk
    "chunk": StreamReader._inner_chunk,
    "content.delta": StreamReader._nothing,
    # https://platform.openai.com/docs/api-reference/images-streaming, .../audio
    "transcript.text.delta": StreamReader._delta,
    "transcript.text.done": StreamReader._whole,
    "speech.audio.delta": StreamReader._delta,
    "speech.audio.done": StreamReader._whole,
    "image_generation.partial_image": StreamReader._delta,
    "image_generation.completed": StreamReader._whole,
    "image_edit.partial_image": StreamReader._delta,
    "image_edit.completed": StreamReader._whole,
}

_BY_FAMILY: Mapping[str, _Read] = {"response": StreamReader._response_event}
"""By what the type of an event begins with."""

_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.done")
_ELSEWHERE = ("msg_bdrk_", "msg_vrtx_")
"""Ids of Claude's messages on Bedrock and Vertex, where the model is named otherwise than there."""

_OF_EVENTS = ("x_groq", "chunk", "messageStop", "totalOutputTextTokenCount")
"""Fields of events alone."""

_BY_FIELD: tuple[tuple[str, _Read], ...] = (
    ("choices", StreamReader._chat),
    ("candidates", StreamReader._gemini),
    ("usage_metadata", StreamReader._gemini),
    ("usageMetadata", StreamReader._gemini),
    ("contentBlockDelta", StreamReader._converse_delta),
    ("contentBlockStart", StreamReader._converse_start),
    ("messageStop", StreamReader._converse_stop),
    ("metadata", StreamReader._converse_metadata),
    ("chunk", StreamReader._invoke_chunk),
    ("generation", StreamReader._llama),
    ("outputText", StreamReader._titan),
    ("outputs", StreamReader._texts),
    ("generations", StreamReader._texts),
    ("done", StreamReader._ollama),
    ("data", StreamReader._data),  # Mistral's SDK
    ("raw", StreamReader._raw),  # LlamaIndex
    ("usage", StreamReader._whole),
)


def _gemini_says(part: object) -> bool:
    return any(
        field(part, where)
        for where in ("text", "inline_data", "inlineData", "executable_code", "executableCode")
    )


def text_of(event: object) -> str | None:
    """The text in an event, as the helper of Anthropic's SDK gives it; ``None`` in others."""
    if field(event, "type") != "content_block_delta":
        return None
    delta = field(event, "delta")
    return field(delta, "text") if field(delta, "type") == "text_delta" else None
