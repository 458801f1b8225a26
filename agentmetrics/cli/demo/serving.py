"""The demo's ``/metrics`` with live traffic, and what may run beside it, until a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from prometheus_async.aio.web import MetricsHTTPServer

from agentmetrics.cli.console import fail, tell
from agentmetrics.cli.demo import live
from agentmetrics.cli.demo.companions import Companion
from agentmetrics.cli.demo.stack import Programs, beside
from agentmetrics.cli.demo.stage import Stage
from agentmetrics.exposition import LOOPBACK, PAGE_PATH, is_page_served, start_http_server

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ANY_ADDRESS = ("0.0.0.0", "::")


async def serve(stage: Stage, host: str, port: int, page: bool | None) -> None:
    """Serve live traffic, for somebody's own Prometheus."""
    stopping = _stop_on_signals()
    async with _metrics(stage, host, port, page) as server:
        address = _address(server, socket.gethostname())
        has_page = is_page_served(host, page)
        tell(_how_to_scrape(address, has_page=has_page))
        with stage.progress.shown():
            await _play(stage, stopping)


async def serve_stack(
    stage: Stage, programs: Programs, host: str, port: int, page: bool | None
) -> None:
    """Serve live traffic, for a Prometheus and an Alertmanager that end with it.

    Ends with 1, and the last lines of its output, when one of them ends earlier.
    """
    stopping = _stop_on_signals()
    async with _metrics(stage, host, port, page) as server, AsyncExitStack() as stack:
        target = _address(server, LOOPBACK)
        with stage.progress.shown():
            stage.progress.say("starting Prometheus and Alertmanager")
            both = await stack.enter_async_context(beside(programs, target, stopping))
        if not stopping.is_set():
            tell(_where(target, *both, has_page=is_page_served(host, page)))
        with stage.progress.shown():
            await _play(stage, stopping)
            stage.progress.now("ending Prometheus and Alertmanager")
            await stack.aclose()


def _stop_on_signals() -> asyncio.Event:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        loop.add_signal_handler(signal.SIGHUP, stopping.set)
    return stopping


@asynccontextmanager
async def _metrics(
    stage: Stage, host: str, port: int, page: bool | None
) -> AsyncIterator[MetricsHTTPServer]:
    try:
        server = await start_http_server(stage.prometheus, host=host, port=port, page=page)
    except OSError as error:
        fail(error.strerror or str(error))
    try:
        yield server
    finally:
        await server.close()


async def _play(stage: Stage, stopping: asyncio.Event) -> None:
    stage.progress.say("live traffic until Ctrl-C, every kind of it within half a minute")
    await live.play(stage, stopping)


def _address(server: MetricsHTTPServer, of_any: str) -> str:
    """Where the server is; ``of_any`` names this machine where it listens on every address."""
    host = of_any if server.socket.addr in _ANY_ADDRESS else server.socket.addr
    return f"[{host}]:{server.socket.port}" if ":" in host else f"{host}:{server.socket.port}"


def _how_to_scrape(target: str, *, has_page: bool) -> str:
    page = f"\nLook at it in a browser: http://{target}{PAGE_PATH}\n" if has_page else ""
    return f"""\
Serving http://{target}/metrics until Ctrl-C.
{page}
For prometheus.yml:

scrape_configs:
  - job_name: agentmetrics-demo
    scrape_interval: 2s
    static_configs:
      - targets: ["{target}"]
"""


def _where(target: str, prometheus: Companion, alertmanager: Companion, *, has_page: bool) -> str:
    page = f"\n  live page     http://{target}{PAGE_PATH}" if has_page else ""
    return f"""\
Running until Ctrl-C:

  metrics       http://{target}/metrics{page}
  Prometheus    {prometheus.url}
  alerts        {prometheus.url}/alerts
  Alertmanager  {alertmanager.url}
"""
