"""A LangGraph server on loopback, as far as ``RemoteGraph`` needs one, with real graphs behind it.

What it sends, and in which order, was compared with the development server of ``langgraph-cli``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any
from uuid import uuid4

from langchain_core.messages import BaseMessage
from langgraph.types import Command
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.services.wire import NO_KEEP_ALIVE, serving


@contextmanager
def serving_graphs(graphs: dict[str, Any]) -> Iterator[str]:
    """The address of a server with these assistants, graphs that have a checkpointer."""

    async def run(request: Request) -> StreamingResponse:
        thread = request.path_params.get("thread_id") or str(uuid4())
        asked = await request.json()
        events = _events(graphs[asked["assistant_id"]], thread, asked)
        return StreamingResponse(events, 200, NO_KEEP_ALIVE, "text/event-stream")

    paths = "/runs/stream", "/threads/{thread_id}/runs/stream"
    with serving(Starlette(routes=[Route(path, run, methods=["POST"]) for path in paths])) as url:
        yield url


def _events(graph: Any, thread: str, asked: dict[str, Any]) -> Iterator[bytes]:
    # Not on the event loop: on Python 3.10 a node there cannot be interrupted.
    task = Command(**asked["command"]) if "command" in asked else asked["input"]
    modes = ["messages" if mode == "messages-tuple" else mode for mode in asked["stream_mode"]]
    config = {"configurable": {"thread_id": thread}}
    yield _event("metadata", {"run_id": str(uuid4()), "attempt": 1})
    try:
        parts = graph.stream(task, config, stream_mode=modes, subgraphs=True)
        for namespace, mode, data in parts:
            if asked["stream_subgraphs"] or not namespace:
                yield _event("|".join((mode, *namespace)), data)
    except Exception as error:
        yield _event("error", {"error": type(error).__name__, "message": "it failed"})


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\r\ndata: {json.dumps(data, default=_plain)}\r\n\r\n".encode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return value.model_dump()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
