"""A receiver of notices on loopback: a Slack channel or a webhook, with scripted answers."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    body: Any
    at: float = field(default_factory=time.monotonic)


class Receiver:
    """Answers with what ``answers`` says, in order, and else with 200.

    An answer is a status, or a status and headers; ``None`` is none: the connection ends. While
    ``hanging`` is set, no answer is given at all.
    """

    def __init__(self, port: int = 0) -> None:
        self.answers: deque[int | tuple[int, dict[str, str]] | None] = deque()
        self.received: list[Received] = []
        self.hanging = threading.Event()
        self._go_on = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.receiver = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """With something in it that must never be shown."""
        return f"http://127.0.0.1:{self.port}/s3cret"

    def answer_again(self) -> None:
        self.hanging.clear()
        self._go_on.set()

    def wait_for(self, holds: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"waited for {seconds} s; got {self.received}"
            time.sleep(0.005)

    def take(self, count: int) -> list[Any]:
        """The bodies of the first ``count`` requests, once they are there."""
        self.wait_for(lambda: len(self.received) >= count)
        return [one.body for one in self.received[:count]]

    def close(self) -> None:
        self.answer_again()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    receiver: Receiver
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may leave before it is answered."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")
        receiver.received.append(Received(self.path, body))
        if receiver.hanging.is_set():
            receiver._go_on.wait()
        answer = receiver.answers.popleft() if receiver.answers else 200
        if answer is None:
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - as a redirect would be followed

    def log_message(self, *_: Any) -> None:
        """Nothing: tests look at what was received."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that answers every request with 200."""
    receiver = Receiver()
    yield receiver
    receiver.close()
