"""/metrics as a route of an application: a scrape is answered where it asks, without a redirect."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from agentmetrics import ConfigurationError, MemoryRecorder, PrometheusRecorder, track_call
from agentmetrics.exposition import make_asgi_app, metrics_route, start_http_server
from tests.services.process import free_port


@pytest.fixture
def recorder() -> PrometheusRecorder:
    """One call of a planner."""
    recorder = PrometheusRecorder(CollectorRegistry())
    with track_call("openai", "gpt-4o-mini", agent_name="planner", recorder=recorder):
        pass
    return recorder


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("the application's own")


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of an application on a real uvicorn."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


class Unredirected(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


def get(url: str) -> tuple[int, str]:
    with urllib.request.build_opener(Unredirected).open(url) as response:
        return response.status, response.read().decode()


APPLICATIONS = {
    "a route among others": lambda recorder: Starlette(
        routes=[Route("/", home), metrics_route(recorder=recorder)]
    ),
    "an app as the endpoint of a route": lambda recorder: Starlette(
        routes=[Route("/", home), Route("/metrics", make_asgi_app(recorder))]
    ),
}


@pytest.mark.parametrize("make", APPLICATIONS.values(), ids=APPLICATIONS.keys())
def test_a_route_answers_a_scrape_without_a_redirect(recorder: Any, make: Any) -> None:
    with served(make(recorder)) as url:
        status, body = get(f"{url}/metrics")
        assert status == 200
        assert 'llm_calls_total{agent_name="planner"' in body
        assert get(url) == (200, "the application's own")


def test_a_route_added_to_an_application_that_exists_answers_under_a_path_of_ones_own(
    recorder: Any,
) -> None:
    app = Starlette(routes=[Route("/", home)])
    app.router.routes.append(metrics_route("/internal/metrics", recorder))
    with served(app) as url:
        assert 'llm_calls_total{agent_name="planner"' in get(f"{url}/internal/metrics")[1]


def test_a_route_needs_a_prometheus_recorder() -> None:
    with pytest.raises(ConfigurationError, match="contains no PrometheusRecorder"):
        metrics_route(recorder=MemoryRecorder())


def test_the_asyncio_server_says_under_trio_what_to_call_instead(recorder: Any) -> None:
    with pytest.raises(RuntimeError, match="under trio call start_http_server_in_thread"):
        trio.run(start_http_server, recorder)
