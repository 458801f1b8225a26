"""Whatever goes wrong in metrics, requests are answered."""

from __future__ import annotations

import logging
from typing import Any

import http_flask
import http_starlette
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from websockets.sync.client import connect
from werkzeug.test import Client

from agentmetrics import ConfigurationError, MemoryRecorder, Namespace, PrometheusRecorder
from agentmetrics_asgi import MetricsMiddleware, WSGIMetricsMiddleware, asgi, base
from agentmetrics_asgi import wsgi as wsgi_module
from tests.services.webserver import Uvicorn, ask, wait_for

FAILURES = "agentmetrics_handler_errors_total"
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
def without(uvicorn_server: Uvicorn) -> list[Any]:
    """The answers of the application alone."""
    return everything(uvicorn_server.serve(http_starlette.application()))


@pytest.mark.parametrize("where", ["bind", "update", "histogram"])
def test_a_backend_that_fails_costs_no_request(
    where: str, without: list[Any], uvicorn_server: Uvicorn
) -> None:
    recorder = Broken(where)
    app = MetricsMiddleware(http_starlette.application(), recorder=recorder)
    assert everything(uvicorn_server.serve(app)) == without
    wait_for(lambda: recorder.value(FAILURES, event="http_request") >= len(without))
    wait_for(lambda: recorder.value("http_requests_active") == 0)


@pytest.mark.parametrize("where", ["bind", "update", "histogram"])
def test_a_backend_that_fails_costs_no_request_of_a_wsgi_application(where: str) -> None:
    def answers(app: Any) -> list[Any]:
        paths = ("/items/7", "/events", "/nothing", "/boom")
        return [(answer.status, answer.text) for answer in map(Client(app).get, paths)]

    recorder = Broken(where)
    without = answers(http_flask.flask())
    assert answers(WSGIMetricsMiddleware(http_flask.flask(), recorder=recorder)) == without
    assert recorder.value(FAILURES, event="http_request") >= len(without)
    assert recorder.value("http_requests_active") == 0


def test_a_backend_that_fails_costs_no_websocket(uvicorn_server: Uvicorn) -> None:
    recorder = Broken("bind")
    app = MetricsMiddleware(http_starlette.application(), recorder=recorder)
    with connect(f"ws://127.0.0.1:{uvicorn_server.serve(app)}/chat/7") as socket:
        socket.send("hello")
        assert socket.recv() == "hello"
    wait_for(lambda: recorder.value(FAILURES, event="http_request") == 1)
    assert recorder.value("http_websockets_active") == 0


def test_settings_that_cannot_be_used_any_more_cost_no_request(
    without: list[Any], uvicorn_server: Uvicorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable(recorder: Any) -> Any:
        raise ConfigurationError("AGENTMETRICS_BACKEND='prometeus': unknown backend")

    recorder = MemoryRecorder()
    port = uvicorn_server.serve(MetricsMiddleware(http_starlette.application(), recorder=recorder))
    wsgi = Client(WSGIMetricsMiddleware(http_flask.flask(), recorder=recorder))
    for module in (asgi, wsgi_module, base):
        monkeypatch.setattr(module, "pipeline_for", unusable)
    assert everything(port) == without
    assert wsgi.get("/items/7").text == "7"
    assert recorder.value("http_requests_total") == 0


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
    left: dict[str, Any],
    endpoint: str,
    without: list[Any],
    recorder: MemoryRecorder,
    uvicorn_server: Uvicorn,
) -> None:
    inner = http_starlette.application()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ours = dict(scope)
        if scope["type"] == "http":
            scope["app"] = type("App", (), {"routes": [Changed()]})()
            scope.update(left)
        await inner(ours, receive, send)

    measured = MetricsMiddleware(app, recorder=recorder)
    assert everything(uvicorn_server.serve(measured)) == without
    wait_for(lambda: recorder.value("http_requests_total", endpoint=endpoint) == len(without))
    assert recorder.value(FAILURES, event="http_request") > 0


@pytest.fixture
def taken() -> PrometheusRecorder:
    """A recorder on a registry that has an ``http_requests_total`` of somebody else's."""
    registry = CollectorRegistry()
    prometheus_client.Counter("http_requests_total", "Theirs.", registry=registry)
    return PrometheusRecorder(registry)


def test_a_name_that_is_taken_is_said_in_one_sentence_and_costs_no_request(
    taken: PrometheusRecorder,
    without: list[Any],
    uvicorn_server: Uvicorn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "agentmetrics"):
        app = MetricsMiddleware(http_starlette.application(), recorder=taken)
        assert everything(uvicorn_server.serve(app)) == without
    said = [record.getMessage() for record in caplog.records if record.name == "agentmetrics"]
    assert said == [SENTENCE]
    assert taken.value(FAILURES, event="http_request") == 1


def test_what_the_sentence_says_helps(taken: PrometheusRecorder, uvicorn_server: Uvicorn) -> None:
    registry = taken.registry
    recorder = Namespace(PrometheusRecorder(registry), "app")
    app = MetricsMiddleware(http_starlette.application(), recorder=recorder)
    ask(uvicorn_server.serve(app), "GET", "/items/7")
    wait_for(lambda: recorder.value("http_requests_total") == 1)
    exposed = prometheus_client.generate_latest(registry).decode()
    ours = 'app_http_requests_total{endpoint="/items/{item_id:int}",method="GET",status="200"} 1.0'
    assert ours in exposed
