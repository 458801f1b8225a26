"""A FastAPI application with included routers and sub-applications, on every FastAPI there is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from agentmetrics import track_call
from agentmetrics_asgi import MetricsMiddleware

ROUTES = [
    # method, path, what the endpoint label is, the status
    ("GET", "/items/7", "/items/{item_id}", 200),
    ("GET", "/items/x", "/items/{item_id}", 422),
    ("POST", "/items/7", "/items/{item_id}", 405),
    ("GET", "/boom", "/boom", 500),
    ("GET", "/a/things/7", "/a/things/{thing}", 200),
    ("DELETE", "/a/things/7", "/a/things/{thing}", 200),
    ("GET", "/b/deep/things/7", "/b/deep/things/{thing}", 200),
    ("GET", "/b/t-1/things/7", "/b/{tenant}/things/{thing}", 200),
    ("GET", "/sub/things/7", "/sub/things/{thing}", 200),
    ("GET", "/sub/own/7", "/sub/own/{thing}", 200),
    ("GET", "/sub/openapi.json", "/sub/openapi.json", 200),
    ("GET", "/sub/nothing", "unmatched", 404),
    ("GET", "/openapi.json", "/openapi.json", 200),
    ("GET", "/events", "/events", 200),
    ("GET", "/nothing/7", "unmatched", 404),
    ("GET", "/nothing/8", "unmatched", 404),
    ("FOO", "/items/7", "/items/{item_id}", 405),
]


def agent_call() -> None:
    """A dependency that FastAPI runs in a thread."""
    with track_call("openai", "gpt-4o", agent_name="dependency"):
        pass


def application(**options: Any) -> FastAPI:
    """With the middleware inside, as ``add_middleware`` puts it."""
    app = FastAPI()
    things = APIRouter()
    outer = APIRouter()
    sub = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    @app.get("/boom")
    def boom() -> None:
        raise ValueError("a secret")

    @app.get("/events")
    def events() -> StreamingResponse:
        def parts() -> Iterator[str]:
            for number in range(3):
                yield f"data: {number}\n\n"
                time.sleep(0.01)

        return StreamingResponse(parts(), media_type="text/event-stream")

    @app.get("/agent", dependencies=[Depends(agent_call)])
    async def agent() -> str:
        with track_call("openai", "gpt-4o", agent_name="endpoint"):
            return "ok"

    @app.websocket("/chat/{room}")
    async def chat(websocket: WebSocket, room: str) -> None:
        await websocket.accept()
        await websocket.send_text(room)
        await websocket.close()

    @things.get("/things/{thing}")
    @things.delete("/things/{thing}")
    def thing(thing: str) -> str:
        return thing

    @sub.get("/own/{thing}")
    def own(thing: str) -> str:
        return thing

    outer.include_router(things, prefix="/deep")
    outer.include_router(things, prefix="/{tenant}")
    app.include_router(things, prefix="/a")
    app.include_router(outer, prefix="/b")
    sub.include_router(things)
    app.mount("/sub", sub)
    app.add_middleware(MetricsMiddleware, **options)
    return app


def on_prometheus() -> FastAPI:
    """For a process of its own, which shows its metrics."""
    return application(metrics_path="/metrics")
