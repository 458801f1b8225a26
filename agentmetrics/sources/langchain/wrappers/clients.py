"""Where provider packages keep their SDK's client, and copies that tell of its requests.

LangChain's interfaces for embeddings and rerankers return vectors and documents: what the
provider said of its usage is in the SDK's response, which only the client sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from typing import Any

from agentmetrics.recording.metric import classes_of, module_of

Requests = Mapping[str, Any]
"""Attributes by name: of each the attributes below it, or nothing where it makes a request."""

Follow = Callable[..., Any]
"""Is called with a method of a client, and its arguments, in place of the method."""

_REQUEST: Requests = {}

EMBEDDINGS: Mapping[str, Requests] = {
    "langchain_aws": {"client": {"invoke_model": _REQUEST}},
    "langchain_cohere": {"client": {"embed": _REQUEST}, "async_client": {"embed": _REQUEST}},
    "langchain_google_genai": {
        "client": {
            "models": {"embed_content": _REQUEST},
            "aio": {"models": {"embed_content": _REQUEST}},
        }
    },
    "langchain_mistralai": {"client": {"post": _REQUEST}, "async_client": {"post": _REQUEST}},
    "langchain_ollama": {"_client": {"embed": _REQUEST}, "_async_client": {"embed": _REQUEST}},
    "langchain_openai": {"client": {"create": _REQUEST}, "async_client": {"create": _REQUEST}},
}
"""The requests of embeddings, by package."""

RERANKERS: Mapping[str, Requests] = {
    "langchain_aws": {"client": {"rerank": _REQUEST}},
    "langchain_cohere": {"client": {"rerank": _REQUEST}},
}
"""The requests of rerankers, by package."""


def watched_copy(wrapped: Any, packages: Mapping[str, Requests], follow: Follow) -> Any:
    """A shallow copy whose client's requests go through ``follow``.

    ``None`` for an object of another package, or whose client is not where it is expected.
    """
    clients = next((packages[name] for name in packages_of(wrapped) if name in packages), _REQUEST)
    found = {name: getattr(wrapped, name, None) for name in clients}
    there = {name: client for name, client in found.items() if client is not None}
    if not there or not all(_reaches(client, clients[name]) for name, client in there.items()):
        return None
    watched = copy(wrapped)
    for name, client in there.items():
        # Past pydantic, which may be told to freeze or to validate what is assigned.
        object.__setattr__(watched, name, _Client(client, clients[name], follow))
    return watched


def packages_of(wrapped: object) -> list[str]:
    """The top-level packages of an object's class and of those it inherits from."""
    return [module_of(cls).partition(".")[0] for cls in classes_of(wrapped)]


def _reaches(client: Any, below: Requests) -> bool:
    return all(
        _reaches(getattr(client, name, None), further) if further else hasattr(client, name)
        for name, further in below.items()
    )


class _Client:
    """A client, or a part of one: its requests go through ``follow``, all else is its own."""

    __slots__ = ("__below", "__client", "__follow")  # no client has attributes of these names

    def __init__(self, client: Any, below: Requests, follow: Follow) -> None:
        self.__client, self.__below, self.__follow = client, below, follow

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle ask before there is a client
            raise AttributeError(name)
        value = getattr(self.__client, name)
        below = self.__below.get(name)
        if below is None:
            return value
        follow = self.__follow
        return _Client(value, below, follow) if below else partial(follow, value)
