"""A program of the tests: one call of a model for each request, by WSGI (``app``) and ASGI.

With ``CALLS_AT_IMPORT`` it makes so many before anything else, which a preloading server does
before it forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import agentmetrics


def call() -> bytes:
    with agentmetrics.track_call("openai", "gpt-4o-mini", agent_name="web") as tracked:
        tracked.record_usage(10, 5)
    return str(os.getpid()).encode()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = call()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body = call()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Any, send: Any) -> None:
    """uvicorn ends by the signal that it was sent, which runs nothing at exit."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    agentmetrics.get_recorder().close()
    await send({"type": "lifespan.shutdown.complete"})


agentmetrics.configure()
for _ in range(int(os.environ.get("CALLS_AT_IMPORT", "0"))):
    call()
