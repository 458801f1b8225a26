"""Gemini's events: each is a response, with the counts of all of them so far."""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.providers.deltas import has_output
from agentmetrics.providers.fields import field, first_of, parts_of
from agentmetrics.providers.reading import Read, Reading


def gemini_response(reading: Reading, event: object) -> bool:
    """https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent"""
    reading.serve(event)
    if first_of(event, (("usage_metadata",), ("usageMetadata",))) is not None:
        reading.count(event)
    said = False
    for position, candidate in enumerate(parts_of(event, "candidates")):
        for part in parts_of(field(candidate, "content"), "parts"):
            call = first_of(part, (("function_call",), ("functionCall",)))
            reading.calls_tool |= call is not None
            said |= call is not None or any(field(part, where) for where in _SAID)
        if not position:
            reading.stop(first_of(candidate, (("finish_reason",), ("finishReason",))))
    return said


_SAID = ("text", "inline_data", "inlineData", "executable_code", "executableCode")


def _interaction(reading: Reading, event: object) -> bool:
    reading.take(field(event, "interaction"))
    return has_output(event)


BY_TYPE: Mapping[str, Read] = {
    # https://ai.google.dev/api/interactions-api
    "interaction.complete": _interaction,
    "interaction.completed": _interaction,
}
