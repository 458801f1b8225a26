"""The middleware for ASGI applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from agentmetrics import Recorder
from agentmetrics.plugin import Instruments, make_asgi_app, pipeline_for, watch_event_loop_if_asked
from agentmetrics_asgi.base import MARK, Base, LabelsOf
from agentmetrics_asgi.meter import HTTPMeter, WebsocketMeter
from agentmetrics_asgi.request import Receive, Request, Scope, Send
from agentmetrics_asgi.routes import UNMATCHED, Routes, last_route
from agentmetrics_asgi.websocket import Connection

App = Callable[[Any, Any, Any], Awaitable[None]]


class MetricsMiddleware(Base):
    """Records the HTTP requests and websockets of an ASGI application.

    ``app`` is any ASGI application: ``app = MetricsMiddleware(app)``, or
    ``app.add_middleware(MetricsMiddleware)``. ``recorder`` defaults to the configured one.
    ``labels`` is a function of the scope that returns values of the extra labels, for all agent
    calls that are made within the request. ``excluded`` lists route templates, paths, and patterns
    of paths with ``*`` that are not recorded. ``metrics_path`` is a path at which the middleware
    itself answers with the metrics of a Prometheus backend; without one it answers 503 there, and
    says why.

    Raises ``agentmetrics.ConfigurationError`` for settings and arguments that cannot be used.
    Requests never fail by it, also where the metrics cannot be recorded: that is logged once, and
    counted in ``agentmetrics_handler_errors_total{event="http_request"}``.
    """

    def __init__(
        self,
        app: App,
        *,
        recorder: Recorder | None = None,
        labels: LabelsOf | None = None,
        excluded: Iterable[str] = (),
        metrics_path: str | None = None,
    ) -> None:
        super().__init__(recorder, labels, excluded, metrics_path)
        self.app = app
        self._routes = Routes(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = _KINDS.get(scope["type"])
        if kind is None:
            self._began(scope)
            await self.app(scope, receive, send)
            return
        if self._metrics_path is not None and _path(scope) == self._metrics_path:
            page = self._page(make_asgi_app)
            await (_unavailable(page) if isinstance(page, str) else page)(scope, receive, send)
            return
        measured = self._measured(*kind, scope, receive, send)
        with self._labelled(scope):
            if measured is None:
                await self.app(scope, receive, send)
                return
            try:
                await self.app(scope, measured.receive, measured.send)
            except BaseException as error:
                measured.ended(error)
                raise
            measured.ended(None)

    def _began(self, scope: Scope) -> None:
        """Watch the loop that the application begins on, where the settings ask for it."""
        if scope["type"] == "lifespan":
            try:
                watch_event_loop_if_asked()
            except Exception as problem:
                self.failed(problem)

    def _measured(
        self,
        meter_kind: Callable[[Instruments], Any],
        measure: Callable[..., Request | Connection],
        *channels: Any,
    ) -> Request | Connection | None:
        """What measures a request; ``None`` for one that is not to be recorded."""
        try:
            scope: Scope = channels[0]
            pipeline = pipeline_for(self._recorder)
            meter = self._meter(pipeline, meter_kind)
            counted = scope.get(MARK, ())
            path = _path(scope)
            if meter is None or id(pipeline) in counted or self._excluded.has_path(path):
                return None
            scope[MARK] = (*counted, id(pipeline))
            return measure(self, meter, *channels, path)
        except Exception as problem:
            self.failed(problem)
            return None

    def endpoint(self, scope: Scope, path: str) -> str | None:
        """The endpoint of a request; ``None`` for one that is excluded."""
        try:
            endpoint = self._routes.endpoint(scope, path)
        except Exception as problem:  # a framework that has changed is no reason not to count
            self.failed(problem)
            endpoint = last_route(scope) or UNMATCHED
        return None if self._excluded.has_endpoint(endpoint) else endpoint


_KINDS: dict[str, tuple[Callable[[Instruments], Any], Callable[..., Request | Connection]]] = {
    "http": (HTTPMeter, Request),
    "websocket": (WebsocketMeter, Connection),
}


def _unavailable(why: str) -> App:
    """An application that says why there are no metrics."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        head = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 503, "headers": head})
        await send({"type": "http.response.body", "body": f"{why}\n".encode()})

    return app


def _path(scope: Scope) -> str:
    """The path that was asked for, without the server's ``root_path``."""
    path: str = scope["path"]
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
