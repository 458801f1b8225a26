"""The live page of programs of the test, behind a proxy or not, in a browser that may be asleep."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from aiohttp import ClientError, ClientSession, web
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Browser, Page, Request
from prometheus_client import CollectorRegistry

from agentmetrics import PrometheusRecorder, track_call, track_run
from agentmetrics.exposition import start_http_server

PATIENCE = 30_000  # milliseconds


class Seen:
    """A page, what it asked for, and what its browser complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", self._requested)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text))

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Seen]:
    """The live page of the server at ``url``, in a browser that has seen nothing yet."""
    size: Any = {"width": 1360, "height": 900}
    context = browser.new_context(**{"viewport": size, "reduced_motion": "reduce", **options})
    try:
        seen = Seen(context.new_page())
        seen.page.goto(f"{url}/agentmetrics")
        yield seen
    finally:
        context.close()


@contextmanager
def asleep(browser: Browser) -> Iterator[None]:
    """The browser as on a machine whose lid is closed: none of its processes does anything."""
    asked = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    processes = [each["id"] for each in asked["processInfo"]]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def turn(page: Page, *, hidden: bool) -> None:
    """Have the page find itself in the background, or in the foreground: without a screen, Chromium
    shows every page."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


def noted(page: Page) -> None:
    """From now on note what the page says of its connection; see ``said``."""
    page.evaluate(
        """() => {
          const status = document.querySelector('#status');
          window.said = [status.dataset.state];
          new MutationObserver(() => {
            if (said.at(-1) !== status.dataset.state) said.push(status.dataset.state);
          }).observe(status, { attributes: true, attributeFilter: ['data-state'] });
        }"""
    )


def said(page: Page) -> list[str]:
    """The states that the page has told since ``noted``, one after the other."""
    found: list[str] = page.evaluate("() => said")
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# Programs


@contextmanager
def served(recorder: PrometheusRecorder, port: int = 0) -> Iterator[str]:
    with start_blocking_portal("asyncio") as portal:
        server = portal.call(partial(start_http_server, recorder, port=port))
        try:
            yield server.url.removesuffix("/")
        finally:
            portal.call(server.close)


def new() -> PrometheusRecorder:
    return PrometheusRecorder(CollectorRegistry())


def called(
    recorder: PrometheusRecorder, agent: str, *, model: str = "gpt-4o-mini", times: int = 1
) -> None:
    for _ in range(times):
        with track_call("openai", model, agent_name=agent, recorder=recorder) as call:
            call.record_usage(input_tokens=1000, output_tokens=100)


def ran(recorder: PrometheusRecorder, agent: str, *, calls: int = 1, fails: bool = False) -> None:
    with suppress(ValueError), track_run(agent, recorder=recorder):
        called(recorder, agent, times=calls)
        if fails:
            raise ValueError


class Proxy:
    """A reverse proxy that has the page under a path of its own, and whose server may be away."""

    url = ""
    server = ""

    @contextmanager
    def listening(self) -> Iterator[Proxy]:
        with start_blocking_portal("asyncio") as portal:
            runner = portal.call(self._start)
            try:
                yield self
            finally:
                portal.call(runner.cleanup)

    async def _start(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_get("/team/a/{rest:.*}", self._pass_on)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/team/a"
        return runner

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=502)
        url = f"{self.server}/{request.match_info['rest']}?{request.query_string}"
        with suppress(ClientError, ConnectionError):
            async with ClientSession() as session, session.get(url) as answer:
                response.set_status(answer.status)
                for name in ("Content-Type", "Content-Security-Policy"):
                    response.headers[name] = answer.headers[name]
                await response.prepare(request)
                async for part in answer.content.iter_any():
                    await response.write(part)
        if not response.prepared:
            await response.prepare(request)
        return response
