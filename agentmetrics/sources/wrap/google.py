"""Google's SDK for Gemini, of the Developer API and of Vertex AI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from agentmetrics.providers.lines import parsed
from agentmetrics.recording.metric import clean_label
from agentmetrics.sources.wrap.methods import record
from agentmetrics.sources.wrap.requests import Asked, Recording, Request

CLASSES = ("Client",)
_METHODS = {
    "_generate_content": True,
    "_generate_content_stream": True,
    "_generate_images": True,
    "_embed_content": False,
}
"""What makes one request each, and whether that is for something to be said.

The public methods, those of chats too, are made of these: one that calls functions of the
program's by itself makes several requests.
"""


def attach(client: Any, recording: Recording) -> None:
    """Record the requests of a ``genai.Client``, ``aio`` included."""
    provider = "google_vertexai" if getattr(client, "vertexai", False) else "google_genai"
    if provider == "google_vertexai":
        recording.place = clean_label(getattr(client._api_client, "location", None))
    for models in ("models", "aio.models"):
        for name, speaks in _METHODS.items():
            record(client, f"{models}.{name}", recording, _reader(provider, speaks), _take)


def _reader(provider: str, speaks: bool) -> Callable[..., Asked]:
    def read(*_: object, **sent: Any) -> Asked:
        return Asked(provider, sent["model"].removeprefix("models/"), sent, speaks)

    return read


def _take(request: Request, result: Any) -> Any:
    if isinstance(result, AsyncIterator):
        return request.follow(result)
    http = getattr(result, "sdk_http_response", None)
    body = getattr(http, "body", None)  # there where the program asked for nothing else
    request.answered(parsed(body) if body else result)
    return result
