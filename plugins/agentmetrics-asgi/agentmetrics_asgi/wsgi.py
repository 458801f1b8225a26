"""The middleware for WSGI applications."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import copy_context
from time import perf_counter
from typing import Any

from agentmetrics import Recorder
from agentmetrics.plugin import make_wsgi_app, pipeline_for
from agentmetrics_asgi.base import MARK, Base, LabelsOf
from agentmetrics_asgi.exchange import CLIENT_WENT, FAILED, Exchange, length_of
from agentmetrics_asgi.meter import HTTPMeter
from agentmetrics_asgi.routes import UNMATCHED, wsgi_path, wsgi_route

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, Any], Iterable[bytes]]
_NO_BODY = frozenset({"204", "304"})


class WSGIMetricsMiddleware(Base):
    """Records the HTTP requests of a WSGI application.

    ``app`` is any WSGI application: ``app.wsgi_app = WSGIMetricsMiddleware(app.wsgi_app)`` in
    Flask, ``application = WSGIMetricsMiddleware(get_wsgi_application())`` in Django. ``labels`` is
    a function of the WSGI environment; all else is as in ``MetricsMiddleware``.

    Raises ``agentmetrics.ConfigurationError`` for settings and arguments that cannot be used.
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        recorder: Recorder | None = None,
        labels: LabelsOf | None = None,
        excluded: Iterable[str] = (),
        metrics_path: str | None = None,
    ) -> None:
        super().__init__(recorder, labels, excluded, metrics_path)
        self.app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = wsgi_path(environ)
        if path == self._metrics_path:
            page = self._page(make_wsgi_app)
            if not isinstance(page, str):
                return page(environ, start_response)
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [f"{page}\n".encode()]
        exchange = self._begin(environ, path)
        if exchange is None and self._labels is None:
            return self.app(environ, start_response)
        response = Response(self, exchange, environ, path, self._run(environ))
        response.ask(self.app, start_response)
        return response

    def _begin(self, environ: Environ, path: str) -> Exchange | None:
        """What measures a request; ``None`` for one that is not to be recorded."""
        try:
            pipeline = pipeline_for(self._recorder)
            meter = self._meter(pipeline, HTTPMeter)
            counted = environ.get(MARK, ())
            if meter is None or id(pipeline) in counted or self._excluded.has_path(path):
                return None
            environ[MARK] = (*counted, id(pipeline))
            exchange = Exchange(meter, environ.get("REQUEST_METHOD"))
            exchange.received = length_of(environ.get("CONTENT_LENGTH") or "") or 0
            return exchange
        except Exception as problem:
            self.failed(problem)
            return None

    def _run(self, environ: Environ) -> Callable[..., Any]:
        """What calls the application: in a context of its own where the request has labels.

        They are for all of the response, which the server reads bit by bit, and for nothing that
        its thread does afterwards.
        """
        if self._labels is None:
            return _call
        context = copy_context()
        context.run(self._labelled(environ).__enter__)
        return context.run

    def endpoint(self, environ: Environ, path: str) -> str:
        """The endpoint of a request."""
        try:
            return wsgi_route(environ, path)
        except Exception as problem:  # a framework that has changed is no reason not to count
            self.failed(problem)
            return UNMATCHED

    def recorded(self, endpoint: str) -> str | None:
        """The endpoint, unless it is excluded."""
        return None if self._excluded.has_endpoint(endpoint) else endpoint


class Response:
    """A response, which hands on every part, and is recorded once it was read or closed."""

    def __init__(
        self,
        site: WSGIMetricsMiddleware,
        exchange: Exchange | None,
        environ: Environ,
        path: str,
        run: Callable[..., Any],
    ) -> None:
        self._site, self._exchange, self._run = site, exchange, run
        self._environ, self._path = environ, path
        self._endpoint: str | None = None
        self._parts: Any = ()
        self._next: Any = None

    def ask(self, app: WSGIApp, start_response: StartResponse) -> None:
        """Let the application answer."""

        def start(status: str, headers: Any, *exc_info: Any) -> Callable[[bytes], object]:
            self._started(status, headers)
            write = start_response(status, headers, *exc_info)

            def written(data: bytes) -> object:
                self._part(data)
                return write(data)

            return written

        try:
            self._parts = self._run(app, self._environ, start)
            self._next = self._run(iter, self._parts).__next__
        except BaseException as error:
            self._end(_broken(error))
            raise

    def __iter__(self) -> Response:
        return self

    def __next__(self) -> bytes:
        try:
            part: bytes = self._run(self._next)
        except StopIteration:
            if self._exchange is not None:
                self._exchange.is_complete = True
            self._end("")
            raise
        except BaseException as error:
            self._end(_broken(error))
            raise
        self._part(part)
        return part

    def __len__(self) -> int:
        return len(self._parts)

    def close(self) -> None:
        """The server is done; what the application does now is no longer part of the response."""
        exchange = self._exchange
        if exchange is not None:  # servers need not read what no client is sent
            is_bodiless = exchange.method == "HEAD" or exchange.status in _NO_BODY
            self._end("" if exchange.is_complete or is_bodiless else CLIENT_WENT)
        close = getattr(self._parts, "close", None)
        if close is not None:
            self._run(close)

    def _started(self, status: str, headers: Any) -> None:
        if self._exchange is not None:
            try:
                self._endpoint = self._site.endpoint(self._environ, self._path)
                code = status[:3]
                self._exchange.answer(int(code) if code.isdecimal() else None, headers)
            except Exception as problem:
                self._site.failed(problem)

    def _part(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.is_over:
            return
        try:
            exchange.part(len(data), has_more=True)
            is_open = exchange.length is None or exchange.is_stream
            if exchange.first_byte and is_open and not exchange.is_first_byte_told:
                endpoint = self._site.recorded(self._endpoint or UNMATCHED)
                if endpoint is not None:
                    exchange.meter.tell_first_byte(exchange, endpoint)
        except Exception as problem:
            self._site.failed(problem)

    def _end(self, broken: str) -> None:
        """Record it: as it was answered, or as ``broken`` says."""
        ended = perf_counter()
        exchange = self._exchange
        if exchange is None or exchange.is_over:
            return
        exchange.is_over = True
        try:
            exchange.read_head()  # a stream may have had no part yet
            exchange.status = broken or exchange.status or FAILED
            # A framework that raised before it answered may still say what the route was.
            endpoint = self._endpoint or self._site.endpoint(self._environ, self._path)
            exchange.end(self._site.recorded(endpoint), ended)
        except Exception as problem:
            self._site.failed(problem)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _broken(error: BaseException) -> str:
    """The status of a response that was cut off."""
    return FAILED if isinstance(error, Exception) else CLIENT_WENT
