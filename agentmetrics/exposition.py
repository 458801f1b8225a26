"""Serves /metrics of a Prometheus recorder: asyncio server, thread server, ASGI app, WSGI app."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from agentmetrics.config.active import get_recorder
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.event_loop import watch_event_loop_if_asked

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer

    from aiohttp import web
    from prometheus_async.aio.web import MetricsHTTPServer
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector
    from starlette.routing import Route

    from agentmetrics.backends.prometheus import PrometheusRecorder

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LOOPBACK = "127.0.0.1"


async def start_http_server(
    recorder: Recorder | None = None, *, host: str = LOOPBACK, port: int = 0
) -> MetricsHTTPServer:
    """Serve ``/metrics`` on the running asyncio loop, and return prometheus-async's server.

    Its ``socket`` holds the address it listens on (``port=0`` picks a free port); ``await
    server.close()`` stops it. ``recorder`` defaults to the configured one; for a layer or fanout
    around a ``PrometheusRecorder``, that recorder is served.

    Raises ``ConfigurationError`` when there is no Prometheus recorder, ``OSError`` when the address
    is not available, ``RuntimeError`` under trio.
    """
    app = make_wsgi_app(recorder)
    try:
        from aiohttp import web
        from prometheus_async.aio.web import MetricsHTTPServer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"start_http_server needs the package {error.name!r}: "
            "pip install 'llm-agentmetrics[prometheus]'",
            name=error.name,
        ) from None
    _check_asyncio()
    watch_event_loop_if_asked()

    async def metrics(request: web.Request) -> web.Response:
        query = request.rel_url.raw_query_string
        status, headers, body = await _scrape(app, request.method, query, request.headers.items())
        return web.Response(status=status, headers=headers, body=body)

    async def index(request: web.Request) -> web.Response:
        return web.Response(text='<a href="/metrics">Metrics</a>', content_type="text/html")

    application = web.Application()
    application.router.add_get("/", index)
    application.router.add_get("/metrics", metrics, allow_head=False)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise _cannot_listen(error, host, port) from None
    return MetricsHTTPServer.from_server(runner=runner, app=application, https=False)


def _check_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "start_http_server needs asyncio, and no asyncio loop is running here: under trio call "
            "start_http_server_in_thread(), or serve make_asgi_app() with a server that runs on it"
        ) from None


class MetricsThread(AbstractContextManager["MetricsThread"]):
    """A server of ``/metrics`` in a daemon thread; ``close()`` or leaving its ``with`` block stops
    it."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread
        self.host, self.port = str(server.server_address[0]), server.server_port

    @property
    def url(self) -> str:
        """The URL of the metrics, as a scraper needs it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop listening; returns once the thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __exit__(self, *exception: object) -> None:
        self.close()


def start_http_server_in_thread(
    recorder: Recorder | None = None, *, host: str = LOOPBACK, port: int = 0
) -> MetricsThread:
    """Serve ``/metrics`` from a separate thread, for programs without an event loop.

    Takes the same arguments and raises the same errors as ``start_http_server``.
    """
    return serve_collector(prometheus_recorder(recorder).scraped, host=host, port=port)


def serve_collector(collector: Collector, *, host: str = LOOPBACK, port: int = 0) -> MetricsThread:
    """Serve the output of a collector, such as the files of a multiprocess directory, from a
    thread.

    Raises ``OSError`` when the address is not available.
    """
    from prometheus_client import start_http_server as start

    try:
        return MetricsThread(*start(port, host, _restrictable(collector)))
    except (OSError, OverflowError) as error:
        raise _cannot_listen(error, host, port) from None


def make_wsgi_app(recorder: Recorder | None = None) -> WSGIApp:
    """A WSGI app that answers every GET with the metrics; mount it under ``/metrics``.

    Raises ``ConfigurationError`` when there is no Prometheus recorder.
    """
    scraped = prometheus_recorder(recorder).scraped
    from prometheus_client import make_wsgi_app as make

    app: WSGIApp = make(_restrictable(scraped))
    return app


class MetricsApp:
    """An ASGI app that answers every GET with the metrics; see ``make_asgi_app``."""

    def __init__(self, metrics: WSGIApp) -> None:
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch_event_loop_if_asked()
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
            query: str = scope.get("query_string", b"").decode("latin-1")
            status, answered, body = await _scrape(self._metrics, scope["method"], query, headers)
            encoded = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answered]
            await send({"type": "http.response.start", "status": status, "headers": encoded})
            await send({"type": "http.response.body", "body": body})


def make_asgi_app(recorder: Recorder | None = None) -> MetricsApp:
    """An ASGI app that answers every GET with the metrics.

    It can run standalone (``uvicorn module:app``), be mounted, or be used as an endpoint of a
    Starlette or FastAPI route (see ``metrics_route``). prometheus-client's own app blocks the event
    loop while it encodes, and does not handle lifespan events.

    Raises ``ConfigurationError`` when there is no Prometheus recorder.
    """
    return MetricsApp(make_wsgi_app(recorder))


def metrics_route(path: str = "/metrics", recorder: Recorder | None = None) -> Route:
    """A route for Starlette and FastAPI: ``app.router.routes.append(metrics_route())``.

    An app mounted under ``/metrics`` is only found at ``/metrics/``, so every scrape is answered
    with a redirect; a route avoids that.

    Raises ``ConfigurationError`` when there is no Prometheus recorder.
    """
    from starlette.routing import Route

    return Route(path, make_asgi_app(recorder), include_in_schema=False)


async def _live(receive: Receive, send: Send) -> None:
    """Answer a server's lifespan events; there is nothing to start or to stop."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def _scrape(
    app: WSGIApp, method: str, query: str, headers: Iterable[tuple[str, str]]
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of a WSGI app, run in a thread: big scrapes stop no event loop."""
    given: dict[str, str] = {}
    for name, value in headers:
        given[name.lower()] = ",".join(filter(None, (given.get(name.lower()), value)))
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": "/metrics",
        "QUERY_STRING": query,
        "HTTP_ACCEPT": given.get("accept", ""),
        "HTTP_ACCEPT_ENCODING": given.get("accept-encoding", ""),
    }
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def answer() -> bytes:
        return b"".join(app(environ, lambda status, headers: started.append((status, headers))))

    body = await to_thread.run_sync(answer)
    status, answered = started[0]
    return int(status.partition(" ")[0]), answered, body


def prometheus_recorder(recorder: Recorder | None = None) -> PrometheusRecorder:
    """The Prometheus recorder in ``recorder``, or in the configured one, inside layers and fanouts.

    Raises ``ConfigurationError`` when there is none.
    """
    try:
        from agentmetrics.backends.prometheus import prometheus_recorder_in
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"/metrics needs the package {error.name!r}: "
            "pip install 'llm-agentmetrics[prometheus]'",
            name=error.name,
        ) from None

    found = prometheus_recorder_in(recorder or get_recorder())
    if found is not None:
        return found
    if recorder is not None:
        raise ConfigurationError(
            f"{type(recorder).__name__} contains no PrometheusRecorder, which /metrics needs"
        )
    raise ConfigurationError(
        "no Prometheus backend is configured: set AGENTMETRICS_BACKEND=prometheus "
        "(comma-separated with others) or call agentmetrics.configure(backend='prometheus')"
    )


def _restrictable(collector: Collector) -> CollectorRegistry:
    """A collector as a registry, which a scrape for single metrics (``?name[]=``) needs."""
    from prometheus_client import CollectorRegistry

    if isinstance(collector, CollectorRegistry):
        return collector
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(collector)
    return registry


_WHY = {
    errno.EADDRINUSE: "the port is in use; choose another",
    errno.EADDRNOTAVAIL: "this machine has no such address; use 127.0.0.1 for itself or "
    "0.0.0.0 for all",
    errno.EACCES: "ports below 1024 require root; choose a higher one",
}


def _cannot_listen(error: OSError | OverflowError, host: str, port: int) -> OSError:
    number = getattr(error, "errno", None) or errno.EINVAL
    if isinstance(error, OverflowError):
        why = "the port must be a number from 0 to 65535"
    elif isinstance(error, socket.gaierror):
        why = "the host name does not resolve"
    else:
        why = _WHY.get(number, os.strerror(number))
    return OSError(number, f"cannot serve metrics on {host}:{port}: {why}")
