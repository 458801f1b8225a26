"""An ASGI application that can hang, for gunicorn's own ASGI workers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from agentmetrics_asgi import MetricsMiddleware


async def item(request: Request) -> PlainTextResponse:
    return PlainTextResponse("item")


async def hang(request: Request) -> PlainTextResponse:
    await asyncio.to_thread(Path(os.environ["HANGING"]).write_text, str(os.getpid()))
    await asyncio.sleep(60)
    return PlainTextResponse("never")


app = MetricsMiddleware(
    Starlette(routes=[Route("/items/{item_id}", item), Route("/hang", hang)]),
    metrics_path="/metrics",
)
