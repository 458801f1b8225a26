"""Web servers around an application: uvicorn in a thread, gunicorn as processes, and a client."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from tests.services.process import free_port, running


@contextmanager
def on_uvicorn(app: Any, **options: Any) -> Iterator[int]:
    """The port of an application on a real uvicorn, in a thread of this process."""
    port = free_port()
    config = uvicorn.Config(app, port=port, log_level="critical", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            time.sleep(0.005)
        yield port
    finally:
        server.should_exit = True
        thread.join(10)


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
