"""An ASGI application each request to which is one call; for servers that are told to end."""

from __future__ import annotations

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    from agentmetrics import track_call

    if scope["type"] != "http":
        return
    with track_call("openai", "gpt-4o-mini", agent_name="main") as tracked:
        tracked.record_usage(1000, 1000)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
