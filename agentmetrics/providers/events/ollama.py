"""Ollama's events, of which the last has the counts. https://docs.ollama.com/api/usage"""

from __future__ import annotations

from agentmetrics.providers.deltas import has_output
from agentmetrics.providers.fields import field
from agentmetrics.providers.reading import Reading


def ollama_chunk(reading: Reading, event: object) -> bool:
    """A part of a chat, or of a completion."""
    reading.name_model(event)
    message = field(event, "message")
    reading.calls_tool |= bool(field(message, "tool_calls"))
    if field(event, "done"):
        reading.take(event)
    completion = (field(event, "response"), field(event, "thinking"))
    return has_output(message) or has_output(completion)
