"""Whatever goes wrong in metrics, requests are answered."""

from __future__ import annotations

import logging
from typing import Any

import http_starlette
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from agentmetrics import MemoryRecorder, Namespace, PrometheusRecorder
from agentmetrics_asgi import MetricsMiddleware
from tests.services.webserver import ask, on_uvicorn

SENTENCE = (
    "could not fully record http_request: http_requests_total is already on this Prometheus "
    "registry, from something other than agentmetrics: unregister it or set AGENTMETRICS_NAMESPACE"
)


class Broken(MemoryRecorder):
    """A backend that fails where it is told to."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def fail(self, where: str) -> None:
        if self.where == where:
            raise RuntimeError("the backend is broken")

    def bind_counter(self, metric: Any, values: Any) -> Any:
        if metric.name.startswith("http_"):
            self.fail("bind")
        return super().bind_counter(metric, values)

    def batch(self, *series: Any) -> Any:
        def update(*values: float) -> None:
            self.fail("update")

        return update if self.where == "update" else super().batch(*series)

    def bind_histogram(self, metric: Any, values: Any) -> Any:
        if metric.name.startswith("http_"):
            self.fail("histogram")
        return super().bind_histogram(metric, values)


def everything(port: int) -> list[Any]:
    """Requests of every kind, and what they were answered."""
    asked = ("/items/7", "/events", "/nothing", "/background", "/boom")
    return [ask(port, "GET", path) for path in asked] + [ask(port, "POST", "/", b"hello")]


@pytest.fixture(scope="module")
def without() -> list[Any]:
    """The answers of the application alone."""
    with on_uvicorn(http_starlette.application()) as port:
        return everything(port)


@pytest.mark.parametrize("where", ["bind", "update", "histogram"])
def test_a_backend_that_fails_costs_no_request(where: str, without: list[Any]) -> None:
    recorder = Broken(where)
    with on_uvicorn(MetricsMiddleware(http_starlette.application(), recorder=recorder)) as port:
        assert everything(port) == without
    failed = recorder.value("agentmetrics_handler_errors_total", event="http_request")
    assert failed >= len(without)
    assert recorder.value("http_requests_active") == 0


class Changed:
    """A route of a Starlette that we do not know."""

    path, endpoint = "/changed/{item_id}", "an endpoint"

    def matches(self, scope: Any) -> Any:
        raise AttributeError("routes match in another way now")


@pytest.mark.parametrize(
    ("left", "endpoint"),
    [
        ({"router": [Changed()]}, "unmatched"),
        ({"router": Changed(), "route": Changed(), "endpoint": "an endpoint"}, Changed.path),
        ({"route": Changed(), "endpoint": "an endpoint", "fastapi": None}, Changed.path),
    ],
)
def test_a_framework_that_has_changed_costs_no_request_and_no_count(
    left: dict[str, Any], endpoint: str, without: list[Any], recorder: MemoryRecorder
) -> None:
    inner = http_starlette.application()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ours = dict(scope)
        if scope["type"] == "http":
            scope["app"] = type("App", (), {"routes": [Changed()]})()
            scope.update(left)
        await inner(ours, receive, send)

    with on_uvicorn(MetricsMiddleware(app, recorder=recorder)) as port:
        assert everything(port) == without
    assert recorder.value("http_requests_total", endpoint=endpoint) == len(without)
    assert recorder.value("agentmetrics_handler_errors_total", event="http_request") > 0


@pytest.fixture
def taken() -> PrometheusRecorder:
    """A recorder on a registry that has an ``http_requests_total`` of somebody else's."""
    registry = CollectorRegistry()
    prometheus_client.Counter("http_requests_total", "Theirs.", registry=registry)
    return PrometheusRecorder(registry)


def test_a_name_that_is_taken_is_said_in_one_sentence_and_costs_no_request(
    taken: PrometheusRecorder, without: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "agentmetrics"):
        app = MetricsMiddleware(http_starlette.application(), recorder=taken)
        with on_uvicorn(app) as port:
            assert everything(port) == without
    said = [record.getMessage() for record in caplog.records if record.name == "agentmetrics"]
    assert said == [SENTENCE]
    assert taken.value("agentmetrics_handler_errors_total", event="http_request") == 1


def test_what_the_sentence_says_helps(taken: PrometheusRecorder) -> None:
    registry = taken.registry
    recorder = Namespace(PrometheusRecorder(registry), "app")
    with on_uvicorn(MetricsMiddleware(http_starlette.application(), recorder=recorder)) as port:
        ask(port, "GET", "/items/7")
    exposed = prometheus_client.generate_latest(registry).decode()
    ours = 'app_http_requests_total{endpoint="/items/{item_id:int}",method="GET",status="200"} 1.0'
    assert ours in exposed
