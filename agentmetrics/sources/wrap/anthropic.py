"""Anthropic's SDK, and its clients of Bedrock, Vertex AI and Azure."""

from __future__ import annotations

from typing import Any

from agentmetrics.recording.metric import clean_label
from agentmetrics.sources.wrap.hosts import provider_at
from agentmetrics.sources.wrap.requests import Recording
from agentmetrics.sources.wrap.stainless import record_requests

CLASSES = (
    "Anthropic",
    "AsyncAnthropic",
    "AnthropicBedrock",
    "AsyncAnthropicBedrock",
    "AnthropicBedrockMantle",
    "AsyncAnthropicBedrockMantle",
    "AnthropicVertex",
    "AsyncAnthropicVertex",
)
_PATHS = frozenset({"/v1/messages", "/v1/complete"})
_ELSEWHERE = {
    "Mantle": "anthropic-mantle",
    "Bedrock": "anthropic-bedrock",
    "AWS": "anthropic-bedrock",
    "Vertex": "google_anthropic_vertex",
    "GoogleCloud": "google_anthropic_vertex",
    "Foundry": "azure",
}
"""By a part of the class's name; the names are those of LangChain's packages."""


def attach(client: Any, recording: Recording) -> None:
    """Record the requests of an ``Anthropic`` client."""
    name = type(client).__name__
    elsewhere = next((told for part, told in _ELSEWHERE.items() if part in name), None)
    provider = elsewhere or provider_at(client.base_url, "anthropic")
    region = getattr(client, "region", None) or getattr(client, "aws_region", None)
    recording.place = clean_label(region) if elsewhere else ""
    record_requests(client, recording, provider, _PATHS)
