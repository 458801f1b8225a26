"""What OpenTelemetry's own exporter makes of the variables of docs/delivery.md."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from tests.integration.pages import blocks, page, section

PAGE = page("delivery.md")
NEW_RELIC, (INTAKE, AGENT) = (
    blocks(section(PAGE, "New Relic"), "env")[0],
    blocks(section(PAGE, "Datadog"), "env"),
)
BLOCKS = {
    "New Relic": (NEW_RELIC, "otlp.nr-data.net", {"api-key": "LICENSE_KEY"}),
    "Datadog's intake": (INTAKE, "otlp.datadoghq.com", {"dd-api-key": "API_KEY"}),
    "Datadog's Agent": (AGENT, "127.0.0.1", {}),
}


class Collector(ThreadingHTTPServer):
    """A server that decodes the metrics it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.received: list[tuple[str, Any, ExportMetricsServiceRequest]] = []


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        request = ExportMetricsServiceRequest.FromString(body)
        self.server.received.append((self.path, self.headers, request))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def variables(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines())


@pytest.mark.parametrize(("block", "host", "headers"), BLOCKS.values(), ids=BLOCKS)
def test_the_variables_send_deltas_to_the_address_with_the_key(
    monkeypatch: pytest.MonkeyPatch,
    collector: Collector,
    block: str,
    host: str,
    headers: dict[str, str],
) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    (address,) = (value for name, value in variables(block).items() if name.endswith("_ENDPOINT"))
    url = urlsplit(address)
    assert url.hostname == host
    for name, value in variables(block).items():
        here = f"http://127.0.0.1:{collector.server_port}"
        monkeypatch.setenv(name, value.replace(f"{url.scheme}://{url.netloc}", here))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=60_000)
    provider = MeterProvider([reader])
    provider.get_meter("tests").create_counter("llm_calls_total").add(1)
    provider.get_meter("tests").create_histogram("llm_latency_seconds").record(0.5)
    provider.shutdown()

    ((path, sent, request),) = collector.received
    assert path == "/v1/metrics"
    assert sent["Content-Type"] == "application/x-protobuf"
    assert headers.items() <= {name.lower(): value for name, value in sent.items()}.items()
    (resource,) = request.resource_metrics
    names = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert names["service.name"] == "shop"
    by_name = {m.name: m for scope in resource.scope_metrics for m in scope.metrics}
    delta = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    assert by_name["llm_calls_total"].sum.aggregation_temporality == delta
    assert by_name["llm_latency_seconds"].histogram.aggregation_temporality == delta


def test_every_block_of_the_page_for_otlp_is_tried() -> None:
    assert blocks(PAGE, "env") == [block for block, _, _ in BLOCKS.values()]
    for block, _, _ in BLOCKS.values():
        assert variables(block)["AGENTMETRICS_BACKEND"] == "otel"
