"""A Litestar application for the tests of the middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, Router, get
from litestar.response import Stream

ROUTES = [
    ("GET", "/", "/", 200),
    ("GET", "/items/7", "/items/{item_id}", 200),
    ("GET", "/items/8", "/items/{item_id}", 200),
    ("GET", "/v2/items/7", "/v2/items/{item_id}", 200),
    ("GET", "/boom", "/boom", 500),
    ("GET", "/events", "/events", 200),
    ("GET", "/nothing/7", "unmatched", 404),
    ("POST", "/nothing/8", "unmatched", 404),
]


@get("/")
async def home() -> str:
    return "home"


@get("/items/{item_id:int}")
async def item(request: Request[Any, Any, Any]) -> int:
    return int(request.path_params["item_id"])


@get("/boom")
async def boom() -> None:
    raise ValueError("a secret")


@get("/events")
async def events() -> Stream:
    async def parts() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"

    return Stream(parts(), media_type="text/event-stream")


def application() -> Any:
    return Litestar([home, item, boom, events, Router("/v2", route_handlers=[item])])
