"""Mistral's SDK."""

from __future__ import annotations

from typing import Any

from agentmetrics.sources.wrap.methods import record, streamed
from agentmetrics.sources.wrap.requests import Asked, Recording

CLASSES = ("Mistral",)
_PATHS = (
    "chat.complete",
    "chat.stream",
    "fim.complete",
    "fim.stream",
    "agents.complete",
    "agents.stream",
    "embeddings.create",
)
_take = streamed("generator")


def _read(*_: object, **sent: Any) -> Asked:
    return Asked("mistral", sent.get("model"), sent)


def _read_embeddings(*_: object, **sent: Any) -> Asked:
    return Asked("mistral", sent.get("model"), sent, speaks=False)


def attach(client: Any, recording: Recording) -> None:
    """Record the requests of a ``Mistral`` client."""
    for path in _PATHS:
        read = _read_embeddings if path.startswith("embeddings.") else _read
        for either in (path, f"{path}_async"):
            record(client, either, recording, read, _take)
