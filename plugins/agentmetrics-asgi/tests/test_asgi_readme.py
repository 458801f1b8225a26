"""The examples of the README, as they stand there."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults

import http_django  # noqa: F401 - its settings are those of the example's project
import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from agentmetrics import Metric, PrometheusRecorder
from agentmetrics.config.active import replaced
from agentmetrics.plugin import Options, pipeline_of, row
from agentmetrics_asgi import meter

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The module of the one example that has this in it."""

    def run(marked: str) -> ModuleType:
        [code] = [code for code in EXAMPLES if marked in code]
        module = ModuleType("example")
        monkeypatch.setitem(sys.modules, "example", module)
        exec(code, vars(module))
        return module

    return run


@pytest.fixture(autouse=True)
def prometheus() -> Iterator[PrometheusRecorder]:
    recorder = PrometheusRecorder(CollectorRegistry())
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    with replaced(recorder):
        yield recorder


def test_of_fastapi(example: Any, prometheus: PrometheusRecorder) -> None:
    client = TestClient(example('metrics_path="/metrics")\n\n\n@app.get').app)
    assert client.get("/items/7").json() == 7
    exposed = client.get("/metrics").text
    line = 'http_requests_total{endpoint="/items/{item_id}",method="GET",status="200"} 1.0'
    assert line in exposed
    assert prometheus.value("http_requests_total") == 1


def test_of_litestar(example: Any, prometheus: PrometheusRecorder) -> None:
    client = TestClient(example("litestar").app)
    assert client.get("/health").text == "ok"
    assert client.get("/nothing").status_code == 404
    assert prometheus.value("http_requests_total") == 1


def test_of_flask(example: Any, prometheus: PrometheusRecorder) -> None:
    client = example("flask").app.test_client()
    assert "Not Found" in client.get("/nothing").text
    assert 'http_requests_total{endpoint="unmatched"' in client.get("/metrics").text
    assert prometheus.value("http_requests_total") == 1


def test_of_django(example: Any, prometheus: PrometheusRecorder) -> None:
    application = example("django").application
    environ: dict[str, Any] = {"PATH_INFO": "/items/7/"}
    setup_testing_defaults(environ)
    response = application(environ, lambda status, headers, *_: None)
    assert b"".join(response) == b"7"
    response.close()
    assert prometheus.value("http_requests_total", endpoint="/items/<int:item_id>/") == 1


def test_of_labels(example: Any, prometheus: PrometheusRecorder) -> None:
    from agentmetrics import track_call

    app = example("labels=tenant").app

    @app.get("/agent")
    def agent() -> None:
        with track_call("openai", "gpt-4o", agent_name="planner"):
            pass

    assert TestClient(app).get("/agent", headers={"x-tenant": "acme"}).status_code == 200
    assert prometheus.value("llm_calls_total", tenant="acme") == 1


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 5


def test_the_table_has_every_metric_with_its_labels() -> None:
    rows = re.findall(r"^\| `(http_\w+)` \| (\w+) \| (.*?) \|", README, re.MULTILINE)
    told = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    own = {m.name: m for m in vars(meter).values() if isinstance(m, Metric)}
    known = {name: own.get(name) or row(name) for name in told}
    assert told == {name: (metric.kind, metric.labels) for name, metric in known.items()}
    assert own.keys() < told.keys()
    assert len(told) == 8 + len(own)
