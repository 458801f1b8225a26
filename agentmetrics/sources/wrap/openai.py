"""OpenAI's SDK, and its clients of Azure and of who else speaks OpenAI's wire."""

from __future__ import annotations

from typing import Any

from agentmetrics.sources.wrap.hosts import provider_at
from agentmetrics.sources.wrap.requests import Recording
from agentmetrics.sources.wrap.stainless import record_requests

CLASSES = ("OpenAI", "AsyncOpenAI")  # AzureOpenAI and AsyncAzureOpenAI inherit from these
_PATHS = frozenset(
    {
        "/chat/completions",
        "/responses",
        "/responses/compact",
        "/completions",
        "/embeddings",
        "/images/generations",
        "/images/edits",
        "/images/variations",
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
    }
)
"""What the methods of ``chat.completions``, ``responses`` and so on send, those of ``beta`` too."""


def attach(client: Any, recording: Recording) -> None:
    """Record the requests of an ``OpenAI`` client."""
    is_azure = any("Azure" in cls.__name__ for cls in type(client).__mro__)
    provider = provider_at(client.base_url, "azure" if is_azure else "openai")
    record_requests(client, recording, provider, _PATHS)
