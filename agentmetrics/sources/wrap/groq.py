"""Groq's SDK."""

from __future__ import annotations

from typing import Any

from agentmetrics.sources.wrap.requests import Recording
from agentmetrics.sources.wrap.stainless import record_requests

CLASSES = ("Groq", "AsyncGroq")
_PATHS = frozenset(
    f"/openai/v1/{path}"
    for path in (
        "chat/completions",
        "responses",
        "embeddings",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
    )
)


def attach(client: Any, recording: Recording) -> None:
    """Record the requests of a ``Groq`` client."""
    record_requests(client, recording, "groq", _PATHS)
