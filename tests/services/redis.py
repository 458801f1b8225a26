"""A real Redis server, with nothing in it."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.process import free_port, required, running

DATABASES = 100


class RedisServer:
    """A running server. ``process`` can be stopped and continued, or ended."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port, self.process = port, process

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"


@contextmanager
def running_redis(directory: Path, port: int | None = None) -> Iterator[RedisServer]:
    """A server that keeps nothing on disk."""
    program, port = required("redis-server", "redis-server"), port or free_port()
    command = [
        *(program, "--port", str(port), "--bind", "127.0.0.1", "--databases", str(DATABASES)),
        *("--save", "", "--appendonly", "no", "--dir", str(directory)),
    ]
    with running(command, port=port, log=directory / "redis.log") as process:
        yield RedisServer(port, process)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """``redis()`` gives the URL of an empty database of a real Redis server."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        numbers = itertools.count()
        yield lambda: server.url(next(numbers))
