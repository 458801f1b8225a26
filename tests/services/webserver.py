"""Web servers around an application: uvicorn in a thread, gunicorn as processes, and a client."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tests.services.process import free_port, running


class Uvicorn:
    """A real uvicorn in a thread of this process, whose application a test may change."""

    def __init__(self) -> None:
        self.app: Any = None
        self.root_path = ""
        self.port = free_port()
        options: Any = {"log_level": "critical", "lifespan": "off", "interface": "asgi3"}
        config = uvicorn.Config(self._call, port=self.port, **options)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "uvicorn did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def serve(self, app: Any, root_path: str = "") -> int:
        """From now on answer with this application; the port. What is ``root_path`` is as behind a
        proxy that takes nothing off the path."""
        self.app, self.root_path = app, root_path
        return self.port

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        if self.root_path:
            scope = {**scope, "root_path": self.root_path, "path": self.root_path + scope["path"]}
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def uvicorn_server() -> Iterator[Uvicorn]:
    """One server for all tests, since starting one takes as long as a hundred requests."""
    server = Uvicorn()
    server.start()
    yield server
    server.stop()


@contextmanager
def on_gunicorn(
    app: str, *options: str, home: Path, env: Mapping[str, str], cwd: Path
) -> Iterator[int]:
    """The port of an application, ``module:app``, on a gunicorn of processes of its own."""
    port = free_port()
    command: Sequence[str] = [
        *(sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}"),
        *("--timeout=50", "--graceful-timeout=1", f"--worker-tmp-dir={home}", *options, app),
    ]
    with running(command, port=port, log=home / "gunicorn.log", env=env, cwd=cwd):
        yield port


def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}
) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body or None, dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_for(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so; a server may not be done when a client has its answer."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited for {seconds} s"
        time.sleep(0.005)
