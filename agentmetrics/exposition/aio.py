"""The asyncio server of /metrics, whose connections are few and do not wait for ever."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from agentmetrics.config.active import get_recorder
from agentmetrics.exposition.apps import app_of, scrape
from agentmetrics.exposition.listening import LOOPBACK, cannot_listen
from agentmetrics.exposition.page.aio import add_page
from agentmetrics.exposition.page.answers import PATH
from agentmetrics.exposition.page.reading import page_of_recorder
from agentmetrics.exposition.recorders import prometheus_recorder
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.event_loop import watch_event_loop_if_asked

if TYPE_CHECKING:
    from aiohttp import web
    from prometheus_async.aio.web import MetricsHTTPServer

MAX_CONNECTIONS = 100
REQUEST_SECONDS = 5.0
"""Until a client that has connected must have asked."""
RESPONSE_SECONDS = 30.0
"""Until it must have read the answer."""
KEPT_SECONDS = 80.0
"""For how long a connection is kept for the next scrape, at most; aiohttp itself waits for 75 s."""
_LOOKS_SECONDS = 0.5


async def start_http_server(
    recorder: Recorder | None = None,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    page: bool | None = None,
) -> MetricsHTTPServer:
    """Serve ``/metrics`` on the running asyncio loop, and return prometheus-async's server.

    The live page is beside it, at ``/agentmetrics``, where ``host`` is of this machine alone;
    ``page=True`` has it elsewhere, ``page=False`` nowhere, and ``AGENTMETRICS_PAGE`` says which
    without an argument.

    Its ``socket`` holds the address it listens on (``port=0`` picks a free port); ``await
    server.close()`` stops it. ``recorder`` defaults to the configured one; for a layer or fanout
    around a ``PrometheusRecorder``, that recorder is served.

    Raises ``ConfigurationError`` when there is no Prometheus recorder, ``OSError`` when the address
    is not available, ``RuntimeError`` under trio.
    """
    app = app_of(prometheus_recorder(recorder).scraped)
    live = page_of_recorder(recorder or get_recorder(), host, page)
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
        with connections.asking(request.protocol):
            status, headers, body = await scrape(
                app, request.method, query, request.headers.items()
            )
        return web.Response(status=status, headers=headers, body=body)

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=index_text, content_type="text/html")

    index_text = '<a href="/metrics">Metrics</a>'
    connections = _Connections()
    application = web.Application()
    if live is not None:
        index_text += f' <a href="{PATH}">Live page</a>'
        add_page(application, live, connections.asking)
    application.router.add_get("/", index)
    application.router.add_get("/metrics", metrics, allow_head=False)
    application.cleanup_ctx.append(connections.looked_after)
    runner = connections.runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise cannot_listen(error, host, port) from None
    return MetricsHTTPServer.from_server(runner=runner, app=application, https=False)


def _check_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "start_http_server needs asyncio, and no asyncio loop is running here: under trio call "
            "start_http_server_in_thread(), or serve make_asgi_app() with a server that runs on it"
        ) from None


class _Connections:
    """Closes connections that take too long, and the oldest where there are too many.

    aiohttp has no limit of its own for those who never finish to ask, or never read.
    """

    def __init__(self) -> None:
        self.runner: web.AppRunner | None = None
        self._since: dict[Any, float] = {}
        """When each connection was made, or its last answer ready; infinity while it is made."""
        self._have_asked: set[Any] = set()

    @contextmanager
    def asking(self, connection: Any) -> Iterator[None]:
        """While its answer is made, a connection is not to blame for anything."""
        self._since[connection] = math.inf
        self._have_asked.add(connection)
        try:
            yield
        finally:
            self._since[connection] = time.monotonic()

    async def looked_after(self, application: web.Application) -> AsyncIterator[None]:
        """From the start of the application to its end."""
        task = asyncio.create_task(self._look_after())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOKS_SECONDS)
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        server = self.runner.server if self.runner else None
        if server is None:
            return
        there: list[Any] = list(server.connections)
        self._since = {each: self._since.get(each, now) for each in there}
        self._have_asked.intersection_update(there)
        waiting = sorted(
            (each for each in there if self._since[each] <= now), key=self._since.__getitem__
        )
        excess = len(there) - MAX_CONNECTIONS
        for number, each in enumerate(waiting):
            if number < excess or now - self._since[each] > self._patience_seconds(each):
                if each.transport is not None:
                    each.transport.abort()

    def _patience_seconds(self, connection: Any) -> float:
        if connection not in self._have_asked:
            return REQUEST_SECONDS
        transport = connection.transport
        is_read = transport is None or not transport.get_write_buffer_size()
        return KEPT_SECONDS if is_read else RESPONSE_SECONDS
