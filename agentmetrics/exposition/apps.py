"""The ASGI and the WSGI application of /metrics and of the live page beside it.

Scrapes that are made at once are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from agentmetrics.config.active import get_recorder
from agentmetrics.exposition.page.answers import PATH, Page, Part, Request, part_of
from agentmetrics.exposition.page.asgi import Receive, Scope, Send, answer_page
from agentmetrics.exposition.page.reading import page_of_recorder
from agentmetrics.exposition.recorders import prometheus_recorder, restrictable
from agentmetrics.recording.fork import NOTICED, ForkAware, notice_fork, watch_forks
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.event_loop import watch_event_loop_if_asked

if TYPE_CHECKING:
    from prometheus_client.registry import Collector
    from starlette.routing import Route

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

MAX_SCRAPES = 8
"""Scrapes that one WSGI application makes at once, each in a thread of its server; further ones are
answered with 503. More than a few Prometheus servers have none."""
MAX_THREADS = 4
"""Threads that scrapes have on one event loop, none of which is the application's own."""
MAX_WAITING = 32
"""Scrapes that wait for such a thread; further ones are answered with 503."""
_BUSY = "503 Service Unavailable"
_BUSY_HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", "1")]
_BUSY_BODY = b"too many scrapes at once\n"


class _Turns(ForkAware):
    """So many at once. Taking one never waits."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin()
        watch_forks(self)

    def _begin(self) -> None:
        self._free = [None] * self._most  # taking one off is a single step

    def take(self) -> bool:
        if not NOTICED[0]:
            notice_fork()
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def give_back(self) -> None:
        self._free.append(None)

    def after_fork_in_child(self) -> None:
        self._begin()  # those who had one are the parent's threads


def make_wsgi_app(recorder: Recorder | None = None, *, page: bool | None = None) -> WSGIApp:
    """A WSGI app that answers every GET with the metrics; mount it under ``/metrics``.

    With ``page=True``, or ``AGENTMETRICS_PAGE=on``, it answers a path that ends in
    ``/agentmetrics`` with the live page, so mount it there as well. It makes ``MAX_SCRAPES``
    answers at once, and is then busy: 503. Raises ``ConfigurationError`` when there is no
    Prometheus recorder.
    """
    metrics = app_of(prometheus_recorder(recorder).scraped)
    return beside(metrics, page_of_recorder(recorder or get_recorder(), None, page))


def beside(metrics: WSGIApp, page: Page | None) -> WSGIApp:
    """The page at its paths, and the metrics at all others."""
    if page is None:
        return metrics

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        part = part_of(f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}")
        if part is None:
            return metrics(environ, start_response)
        named = (
            (name[5:].replace("_", "-"), value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        )
        query = environ.get("QUERY_STRING", "")
        found = page.answer(part, Request.of(environ["REQUEST_METHOD"], query, named))
        start_response(found.line, found.headers)
        return [found.body]

    return answer


def app_of(collector: Collector) -> WSGIApp:
    """The WSGI app of a collector's metrics."""
    from prometheus_client import make_wsgi_app as make

    from agentmetrics.backends.accepting import understood

    metrics: WSGIApp = make(restrictable(collector))
    turns = _Turns(MAX_SCRAPES)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not turns.take():
            start_response(_BUSY, _BUSY_HEADERS)
            return [_BUSY_BODY]
        accept = understood(environ.get("HTTP_ACCEPT") or "")
        path = environ.get("PATH_INFO") or "/"  # which may be left out where it is empty
        try:
            asked = {**environ, "HTTP_ACCEPT": accept, "PATH_INFO": path}
            return list(metrics(asked, start_response))
        finally:
            turns.give_back()

    return answer


class MetricsApp:
    """An ASGI app that answers every GET with the metrics; see ``make_asgi_app``."""

    def __init__(self, metrics: WSGIApp, page: Page | None = None) -> None:
        self._metrics, self._page = metrics, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch_event_loop_if_asked()
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif self._page is not None and (part := part_of(scope["path"])) is not None:
            await answer_page(self._page, part, scope, receive, send)
        else:
            headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
            query: str = scope.get("query_string", b"").decode("latin-1")
            status, answered, body = await scrape(self._metrics, scope["method"], query, headers)
            encoded = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answered]
            await send({"type": "http.response.start", "status": status, "headers": encoded})
            await send({"type": "http.response.body", "body": body})


class PageApp:
    """An ASGI app of the live page alone, as the endpoint of a route; see ``page_route``."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        part = _PARTS.get(scope["path_params"]["part"])
        if part is None:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await answer_page(self._page, part, scope, receive, send)


_PARTS: dict[str, Part] = {"": "", "/": "", "/events": "events", "/state": "state", "/runs": "runs"}


def make_asgi_app(recorder: Recorder | None = None, *, page: bool | None = None) -> MetricsApp:
    """An ASGI app that answers every GET with the metrics.

    With ``page=True``, or ``AGENTMETRICS_PAGE=on``, it answers a path that ends in
    ``/agentmetrics`` with the live page.

    It can run standalone (``uvicorn module:app``), be mounted, or be used as an endpoint of a
    Starlette or FastAPI route (see ``metrics_route``). prometheus-client's own app blocks the event
    loop while it encodes, and does not handle lifespan events.

    Raises ``ConfigurationError`` when there is no Prometheus recorder.
    """
    metrics = app_of(prometheus_recorder(recorder).scraped)
    return MetricsApp(metrics, page_of_recorder(recorder or get_recorder(), None, page))


def page_route(path: str = PATH, recorder: Recorder | None = None) -> Route:
    """A route for Starlette and FastAPI with the live page:
    ``app.router.routes.append(page_route())``.

    Whoever reaches the application sees it: set ``AGENTMETRICS_PAGE_TOKEN`` where that is not only
    you. Raises ``ConfigurationError`` when there is no Prometheus recorder.
    """
    from starlette.routing import Route

    page = page_of_recorder(recorder or get_recorder(), None, True)
    assert page is not None
    return Route(f"{path}{{part:path}}", PageApp(page), include_in_schema=False)


def metrics_route(path: str = "/metrics", recorder: Recorder | None = None) -> Route:
    """A route for Starlette and FastAPI: ``app.router.routes.append(metrics_route())``.

    An app mounted under ``/metrics`` is only found at ``/metrics/``, so every scrape is answered
    with a redirect; a route avoids that.

    Raises ``ConfigurationError`` when there is no Prometheus recorder.
    """
    from starlette.routing import Route

    metrics = MetricsApp(app_of(prometheus_recorder(recorder).scraped))
    return Route(path, metrics, include_in_schema=False)


async def _live(receive: Receive, send: Send) -> None:
    """Answer a server's lifespan events; there is nothing to start or to stop."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def scrape(
    app: WSGIApp, method: str, query: str, headers: Iterable[tuple[str, str]]
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of a WSGI app, run in a thread: big scrapes stop no event loop.

    The threads are ours: anyio's default ones are those that the application needs.
    """
    line = _line()
    if line.there >= MAX_THREADS + MAX_WAITING:
        return 503, _BUSY_HEADERS, _BUSY_BODY
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

    line.there += 1
    try:
        body = await to_thread.run_sync(answer, limiter=line.limiter)
    finally:
        line.there -= 1
    status, answered = started[0]
    return int(status.partition(" ")[0]), answered, body


class _Line:
    """Those that wait for a thread on one event loop, and those that have one."""

    def __init__(self) -> None:
        self.limiter = CapacityLimiter(MAX_THREADS)
        self.there = 0


_lines: RunVar[_Line] = RunVar("agentmetrics_scrapes")


def _line() -> _Line:
    """That of the running event loop, be it asyncio's or trio's."""
    try:
        return _lines.get()
    except LookupError:
        line = _Line()
        _lines.set(line)
        return line
