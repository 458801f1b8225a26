"""A Starlette application with mounts of every kind, for the tests of the middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

SLOW_SECONDS = 0.4
BACKGROUND_SECONDS = 0.3

ROUTES = [
    # method, path, what the endpoint label is, the status
    ("GET", "/", "/", 200),
    ("GET", "/items/7", "/items/{item_id:int}", 200),
    ("GET", "/items/8", "/items/{item_id:int}", 200),
    ("PUT", "/items/8", "/items/{item_id:int}", 405),
    ("HEAD", "/items/8", "/items/{item_id:int}", 200),
    ("GET", "/api/items/7", "/api/items/{item_id}", 200),
    ("GET", "/tenants/acme/items/7", "/tenants/{tenant}/items/{item_id:int}", 200),
    ("GET", "/tenants/globex/items/7", "/tenants/{tenant}/items/{item_id:int}", 200),
    ("GET", "/tenants/acme/v2/items/x", "/tenants/{tenant}/v2/items/{name}", 200),
    ("GET", "/wrapped/items/7", "/wrapped/items/{item_id}", 200),
    ("GET", "/wrapped/nothing", "unmatched", 404),
    ("GET", "/api/nothing", "unmatched", 404),
    ("GET", "/nothing/7", "unmatched", 404),
    ("GET", "/nothing/8", "unmatched", 404),
    ("GET", "/boom", "/boom", 500),
    ("GET", "/static/a.txt", "/static", 200),
    ("GET", "/static/b.txt", "/static", 404),
    ("GET", "/events", "/events", 200),
]


async def item(request: Request) -> Response:
    return PlainTextResponse("item")


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def boom(request: Request) -> Response:
    raise ValueError("a secret")


async def slow(request: Request) -> Response:
    await asyncio.sleep(SLOW_SECONDS)
    return PlainTextResponse("at last")


async def background(request: Request) -> Response:
    return PlainTextResponse("soon", background=BackgroundTask(asyncio.sleep, BACKGROUND_SECONDS))


async def events(request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        for number in range(int(request.query_params.get("count", 3))):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(parts(), media_type="text/event-stream")


async def breaking(request: Request) -> Response:
    async def broken() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        raise ValueError("the provider went away")

    return StreamingResponse(broken(), media_type="text/event-stream")


async def chat(websocket: WebSocket) -> None:
    if "refused" in websocket.query_params:
        await websocket.close()
        return
    await websocket.accept()
    said = await websocket.receive_text()
    if said == "fail":
        raise ValueError("a secret")
    await websocket.send_text(said)
    await websocket.receive_text()  # the client leaves, and Starlette says so by an error


def application(static: Any = None) -> Starlette:
    """Without the middleware."""
    v2 = Mount("/v2", routes=[Route("/items/{name}", item)])
    inner = Starlette(routes=[Route("/items/{item_id}", item)])
    return Starlette(
        routes=[
            Route("/", echo, methods=["GET", "POST"]),
            Route("/items/{item_id:int}", item),
            Route("/boom", boom),
            Route("/slow", slow),
            Route("/background", background),
            Route("/events", events),
            Route("/breaking", breaking),
            WebSocketRoute("/chat/{room}", chat),
            Mount("/api", inner),
            Mount("/tenants/{tenant}", routes=[Route("/items/{item_id:int}", item), v2]),
            Mount("/wrapped", CORSMiddleware(inner, allow_origins=["*"])),
            *([Mount("/static", StaticFiles(directory=static))] if static else []),
            Host("other.example", Starlette(routes=[Route("/hosted/{item_id}", item)])),
        ]
    )
