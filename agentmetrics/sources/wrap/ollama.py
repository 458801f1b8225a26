"""Ollama's SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from agentmetrics.sources.wrap.methods import record, whole
from agentmetrics.sources.wrap.requests import Asked, Recording, Request

CLASSES = ("Client", "AsyncClient")


def _read(model: str = "", *messages: object, **sent: Any) -> Asked:
    return Asked("ollama", model, {"messages": messages, **sent})


def _read_embedding(model: str = "", *texts: object, **sent: Any) -> Asked:
    return Asked("ollama", model, {"input": texts, **sent}, speaks=False)


def _take(request: Request, result: Any) -> Any:
    # Of a stream they are generators of the SDK's, which ask when they are first read.
    if isinstance(result, Iterator | AsyncIterator):
        return request.follow(result)
    return whole(request, result)


def attach(client: Any, recording: Recording) -> None:
    """Record the requests of an ``ollama.Client`` or ``ollama.AsyncClient``."""
    for name in ("chat", "generate"):
        record(client, name, recording, _read, _take)
    for name in ("embed", "embeddings"):
        record(client, name, recording, _read_embedding, whole)
