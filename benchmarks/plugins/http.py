"""A request to an application, called as a server does but without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import process_time
from typing import Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette_exporter import PrometheusMiddleware

from agentmetrics import MemoryRecorder, PrometheusRecorder
from agentmetrics_asgi import MetricsMiddleware
from benchmarks.measure import Measured, Timer, interleaved

BARE = "bare"
OURS = "agentmetrics-asgi"
MEMORY = "agentmetrics-asgi, memory"
INSTRUMENTATOR = "prometheus-fastapi-instrumentator"
EXPORTER = "starlette_exporter"
LOOPS = 300

HEADERS = [
    (b"host", b"api.example.com"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"content-type", b"application/json"),
    (b"content-length", b"17"),
    (b"authorization", b"Bearer 0123456789abcdef0123456789abcdef"),
]
BODY = {"type": "http.request", "body": b'{"ask": "Paris?"}', "more_body": False}


def measure(rounds: int) -> dict[str, Measured]:
    """CPU seconds of one request to the last of twenty routes of a Starlette."""
    return _measured(_starlette, rounds)


def measure_fastapi(rounds: int) -> dict[str, Measured]:
    """CPU seconds of one request to the last of twenty routes of a FastAPI's included router."""
    return _measured(_fastapi, rounds)


def _measured(make: Callable[[], Any], rounds: int) -> dict[str, Measured]:
    timers = {name: _timer(wrap(make())) for name, wrap in CONTENDERS.items()}
    return interleaved(timers, loops=LOOPS, rounds=rounds)


async def _ask(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"answer": "sunny"})


def _starlette() -> Starlette:
    routes = [Route(f"/things-{n}/{{thing_id}}", _ask, methods=["POST"]) for n in range(20)]
    return Starlette(routes=[*routes, Mount("/api", routes=routes)])


def _fastapi() -> FastAPI:
    app, router = FastAPI(), APIRouter()

    async def ask(thing_id: str, request: Request) -> dict[str, str]:
        await request.body()
        return {"answer": "sunny"}

    for number in range(20):
        router.post(f"/things-{number}/{{thing_id}}")(ask)
    app.include_router(router, prefix="/api")
    return app


def _ours(app: Any) -> Any:
    app.add_middleware(MetricsMiddleware, recorder=PrometheusRecorder(CollectorRegistry()))
    return app


def _memory(app: Any) -> Any:
    app.add_middleware(MetricsMiddleware, recorder=MemoryRecorder())
    return app


def _instrumentator(app: Any) -> Any:
    peer = Instrumentator(
        should_instrument_requests_inprogress=True,
        inprogress_name=f"inprogress_{id(app)}",  # its one gauge that is on the global registry
        registry=CollectorRegistry(),
    )
    peer.instrument(app)
    return app


def _exporter(app: Any) -> Any:
    app.add_middleware(PrometheusMiddleware, group_paths=True)
    return app


CONTENDERS: dict[str, Callable[[Any], Any]] = {
    BARE: lambda app: app,
    OURS: _ours,
    MEMORY: _memory,
    INSTRUMENTATOR: _instrumentator,
    EXPORTER: _exporter,
}


def _timer(app: Any) -> Timer:
    async def receive() -> Any:
        return BODY

    async def send(message: Any) -> None:
        sent.append(message)

    sent: list[Any] = []

    async def requests(loops: int) -> float:
        began = process_time()
        for _ in range(loops):
            await app(_scope(), receive, send)
        took = process_time() - began
        assert len(sent) == 2 * loops
        assert sent[-2]["status"] == 200
        sent.clear()
        return took

    loop = asyncio.new_event_loop()
    return lambda loops: loop.run_until_complete(requests(loops))


def _scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": "/api/things-19/7",
        "raw_path": b"/api/things-19/7",
        "query_string": b"",
        "headers": HEADERS,
        "state": {},
    }
