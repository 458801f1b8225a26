"""A real RabbitMQ server, with a directory and an epmd of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.process import free_port, required, running, wait_for_port

PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""What Debian's wrapper calls, which would become the user rabbitmq."""


class RabbitMQServer:
    """A running server, with the user ``guest``."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"


@contextmanager
def _running_rabbitmq(directory: Path) -> Iterator[RabbitMQServer]:
    required("rabbitmq-server", "rabbitmq-server")
    port, epmd_port = free_port(), free_port()
    env = {
        **os.environ,
        "HOME": str(directory),  # for the cookie that Erlang's nodes know each other by
        "RABBITMQ_NODENAME": f"rabbit{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
        # One scheduler, which does not spin while it waits.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    # A server that finds no epmd starts one that outlives it.
    epmd = [required("epmd", "erlang-base"), "-port", str(epmd_port), "-address", "127.0.0.1"]
    with (
        running(epmd, port=epmd_port, log=directory / "epmd.log", env=env),
        (directory / "rabbitmq.log").open("wb") as log,
    ):
        process = subprocess.Popen(
            [str(PROGRAM)], env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for_port(port, process, seconds=120)  # four on a machine with nothing else to do
            yield RabbitMQServer(port)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # what it keeps is removed with its directory
            process.wait()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A server for the whole session; it takes some seconds to start."""
    directory = Path(tempfile.mkdtemp(prefix="agentmetrics-rabbitmq-"))
    try:
        with _running_rabbitmq(directory) as server:
            yield server
    finally:
        shutil.rmtree(directory)
