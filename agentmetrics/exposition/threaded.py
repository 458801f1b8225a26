"""The thread server of /metrics: so many connections at once, none of which waits for ever.

A connection has a thread. One that is not done in time is shut, which ends what its thread waits
for. Where all places are taken, the oldest that keeps its thread waiting makes room.
"""

from __future__ import annotations

import math
import socket
import sys
import threading
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from http.client import LineTooLong
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from agentmetrics.config.active import get_recorder
from agentmetrics.exposition.apps import WSGIApp, app_of, beside
from agentmetrics.exposition.listening import LOOPBACK, cannot_listen
from agentmetrics.exposition.page.answers import PATH, Page
from agentmetrics.exposition.page.reading import page_of_collector, page_of_recorder
from agentmetrics.exposition.recorders import prometheus_recorder
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.recorder import Recorder

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

MAX_CONNECTIONS = 20
MAX_HEAD_BYTES = 128 * 1024
"""For a request's line and headers together."""
REQUEST_SECONDS = 5.0
"""Until a client that has connected must have asked."""
RESPONSE_SECONDS = 30.0
"""Until it must have read the answer, from when that is ready."""
SLOW_SECONDS = 1.0
"""From when on a client that is still to do its part makes room for another."""
_ROOM_SECONDS = 0.2
_BUSY = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n\r\n"
    b"too many connections at once\n"
)


class MetricsThread(AbstractContextManager["MetricsThread"]):
    """A server of ``/metrics`` in a daemon thread; ``close()`` or leaving its ``with`` block stops
    it."""

    def __init__(self, server: WSGIServer, thread: threading.Thread, *, has_page: bool) -> None:
        self._server, self._thread, self._has_page = server, thread, has_page
        self.host, self.port = str(server.server_address[0]), server.server_port

    @property
    def url(self) -> str:
        """The URL of the metrics, as a scraper needs it."""
        return f"{self._root}/metrics"

    @property
    def page_url(self) -> str | None:
        """The URL of the live page, for a browser; ``None`` where it is not served."""
        return f"{self._root}{PATH}" if self._has_page else None

    @property
    def _root(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def close(self) -> None:
        """Stop listening; returns once the thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __exit__(self, *exception: object) -> None:
        self.close()


def start_http_server_in_thread(
    recorder: Recorder | None = None,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    page: bool | None = None,
) -> MetricsThread:
    """Serve ``/metrics``, and the live page, from a separate thread, for programs without an event
    loop.

    Takes the same arguments and raises the same errors as ``start_http_server``.
    """
    scraped = prometheus_recorder(recorder).scraped
    return _serve(scraped, page_of_recorder(recorder or get_recorder(), host, page), host, port)


def serve_collector(
    collector: Collector, *, host: str = LOOPBACK, port: int = 0, page: bool | None = None
) -> MetricsThread:
    """Serve the output of a collector, such as the files of a multiprocess directory, from a
    thread.

    Raises ``OSError`` when the address is not available.
    """
    return _serve(collector, page_of_collector(collector, host, page), host, port)


def _serve(collector: Collector, page: Page | None, host: str, port: int) -> MetricsThread:
    try:
        server = _Server(host, port, beside(app_of(collector), page))
    except (OSError, OverflowError) as error:
        raise cannot_listen(error, host, port) from None
    thread = threading.Thread(target=server.serve_forever, name="agentmetrics-metrics", daemon=True)
    thread.start()
    return MetricsThread(server, thread, has_page=page is not None)


@dataclass(slots=True)
class _Wait:
    """How long a connection's thread may wait for its client."""

    until: float
    """Then it is shut."""
    slow_from: float
    """Then it may make room for another."""

    @classmethod
    def for_(cls, seconds: float) -> _Wait:
        now = time.monotonic()
        return cls(now + seconds, now + SLOW_SECONDS)


_AT_WORK = _Wait(math.inf, math.inf)
"""That of a connection whose answer is being made."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 512  # one that is full is tried again only after a second

    def __init__(self, host: str, port: int, app: WSGIApp) -> None:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, address = found[0]
        self._waits: dict[Any, _Wait] = {}
        self._problems = LogOnce()
        super().__init__((str(address[0]), port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # and look no name up, which takes as long as it takes
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def waits(self, connection: Any, wait: _Wait) -> None:
        """From now on the thread of a connection waits like this."""
        if connection in self._waits:
            self._waits[connection] = wait

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._has_room():
            self._refuse(request)
            return
        self._waits[request] = _Wait.for_(REQUEST_SECONDS)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            del self._waits[request]
            self._refuse(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._waits.pop(request, None)

    def _has_room(self) -> bool:
        """Whether there is a place for one more; a client that is slow gives up its own."""
        if len(self._waits) < MAX_CONNECTIONS:
            return True
        slow = [each for each, wait in self._there() if wait.slow_from <= time.monotonic()]
        if not slow:
            return False
        _shut(slow[0])
        deadline = time.monotonic() + _ROOM_SECONDS
        while len(self._waits) >= MAX_CONNECTIONS and time.monotonic() < deadline:
            time.sleep(0.002)
        return len(self._waits) < MAX_CONNECTIONS

    def _there(self) -> list[tuple[Any, _Wait]]:
        """All connections, the oldest first."""
        return list(self._waits.items())

    def _refuse(self, request: Any) -> None:
        with suppress(OSError):
            request.setblocking(False)
            request.send(_BUSY)
        self.shutdown_request(request)

    def service_actions(self) -> None:
        """Shut what is not done in time; the server's loop comes here twice a second."""
        now = time.monotonic()
        for connection, wait in self._there():
            if wait.until <= now:
                _shut(connection)

    def server_close(self) -> None:
        super().server_close()
        for connection, _ in self._there():
            _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # which is that the client went, or was too slow
            kind = type(error).__name__
            self._problems.warn(kind, "a scrape of /metrics failed: %s", kind)


def _shut(connection: Any) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Head:
    """A request as it is read, up to the end of its headers."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, MAX_HEAD_BYTES

    def readline(self, size: int) -> bytes:
        line: bytes = self._file.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("header")  # which is answered with 431
        return line

    def close(self) -> None:
        self._file.close()


class _Handler(WSGIRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Answer one request."""
        head: Any = _Head(self.rfile)
        wfile: Any = self.wfile
        self.rfile = head
        self.raw_requestline = self.rfile.readline(65537)
        if not self.parse_request():
            return
        self.server.waits(self.request, _AT_WORK)
        handler = ServerHandler(head, wfile, self.get_stderr(), self.get_environ())
        handler.request_handler = self  # type: ignore[attr-defined]
        handler.run(self._answer)

    def _answer(self, environ: Any, start_response: Any) -> Any:
        app: Any = self.server.get_app()
        body = app(environ, start_response)
        self.server.waits(self.request, _Wait.for_(RESPONSE_SECONDS))
        return body

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a scrape is nothing to tell of."""
