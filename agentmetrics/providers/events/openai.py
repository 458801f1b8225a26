"""OpenAI's events: chat completions and who speaks their wire, responses, images, audio."""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.providers.deltas import has_output
from agentmetrics.providers.fields import field, parts_of
from agentmetrics.providers.reading import Read, Reading


def chat_chunk(reading: Reading, event: object) -> bool:
    """A chunk of a chat completion, or of a text completion."""
    if not reading.served_model:
        reading.name_model(event)
    if field(event, "service_tier") is not None:
        reading.serve(event)
    if field(event, "usage") is not None:
        reading.count(event)
    said = False
    for choice in parts_of(event, "choices"):
        delta = field(choice, "delta")
        if delta is None:
            delta = field(choice, "message")
        said |= has_output(choice if delta is None else delta)
        reading.calls_tool |= bool(field(delta, "tool_calls") or field(delta, "function_call"))
        reading.refuses |= bool(field(delta, "refusal"))
        word = field(choice, "finish_reason")
        if delta is None:
            word = word or field(choice, "stop_reason")  # DeepSeek's on Bedrock
        if word and not field(choice, "index") and not reading.finish_reason:
            reading.stop(word)
    return said


def last_chunk(reading: Reading, event: object) -> bool:
    """What a chunk that says nothing may have besides: Groq's usage."""
    groq = field(event, "x_groq")
    if field(groq, "usage") is not None:
        reading.count({"usage": field(groq, "usage")})
    return False


def response_event(reading: Reading, event: object) -> bool:
    """https://platform.openai.com/docs/api-reference/responses-streaming, and Realtime's."""
    kind: str = field(event, "type")
    response = field(event, "response")
    if kind in _ENDS:
        reading.take(response)
    elif response is not None:
        reading.name_model(response)  # of its tier it says what was asked for
    reading.refuses |= kind == "response.refusal.delta"
    item = field(field(event, "item"), "type")
    if kind == "response.output_item.added" and isinstance(item, str):
        return item.endswith("_call")
    return kind.endswith((".delta", ".partial_image")) and has_output(event)


_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.done")


def part(reading: Reading, event: object) -> bool:
    """An event that says something, and nothing of the call."""
    return has_output(event)


def whole(reading: Reading, event: object) -> bool:
    """An event that is the response, such as the last of images or a transcript."""
    reading.take(event)
    return has_output(event)


BY_TYPE: Mapping[str, Read] = {
    "content.delta": part,  # the SDK's helper for chat completions, beside the chunks
    # https://platform.openai.com/docs/api-reference/images-streaming, .../audio
    "transcript.text.delta": part,
    "transcript.text.done": whole,
    "speech.audio.delta": part,
    "speech.audio.done": whole,
    "image_generation.partial_image": part,
    "image_generation.completed": whole,
    "image_edit.partial_image": part,
    "image_edit.completed": whole,
    "message.output.delta": part,  # https://docs.mistral.ai/api/endpoint/beta/conversations
}
