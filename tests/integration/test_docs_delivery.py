"""The configuration of docs/delivery.md: Prometheus reads it, and what it writes arrives."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from agentmetrics import PrometheusRecorder, track_call
from agentmetrics.exposition import start_http_server_in_thread
from tests.integration.pages import blocks, page, section
from tests.services.process import free_port, required, running
from tests.services.prometheus import PrometheusServer, running_with

CONFIGS = blocks(page("delivery.md"), "yaml")
RECEIVER = ("--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage")
TOKEN = "a token with a / and a ="
TARGET = "127.0.0.1:9464"
CALLS = 5


class Request(NamedTuple):
    """What a gateway notes of a request."""

    path: str
    authorization: str | None


class Gateway(ThreadingHTTPServer):
    """The door of a service that takes remote writes: it notes requests, and passes them on."""

    daemon_threads = True

    def __init__(self, receiver: PrometheusServer) -> None:
        super().__init__(("127.0.0.1", 0), _Door)
        self.receiver = receiver
        self.requests: list[Request] = []


class _Door(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(Request(self.path, self.headers["Authorization"]))
        passed = {
            name: self.headers[name]
            for name in ("Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version")
        }
        request = urllib.request.Request(
            f"{self.server.receiver.url}/api/v1/write", body, passed, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            self.send_response(response.status)
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


class Delivered(NamedTuple):
    """What came in by one of the page's configurations, and what the program had."""

    title: str
    receiver: PrometheusServer
    requests: list[Request]
    recorder: PrometheusRecorder
    trace_id: str


def config(title: str) -> str:
    (found,) = blocks(section(page("delivery.md"), title), "yaml")
    return found


@contextmanager
def receiving(directory: Path) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes nothing and takes remote writes, as Mimir does."""
    directory.mkdir()
    empty = directory / "prometheus.yml"
    empty.write_text("{}")
    with running_with(empty, directory, (), *RECEIVER) as server:
        yield server


@contextmanager
def sending_server(file: Path, directory: Path) -> Iterator[None]:
    with running_with(file, directory, (), "--enable-feature=exemplar-storage"):
        yield


@contextmanager
def sending_agent(file: Path, directory: Path) -> Iterator[None]:
    program, port = required("prometheus", "prometheus"), free_port()
    command = [
        program,
        "--enable-feature=agent,exemplar-storage",
        f"--config.file={file}",
        f"--storage.agent.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, port=port, log=directory / "prometheus.log"):
        yield


SENDERS = {"Grafana Cloud": sending_server, "Mimir": sending_agent}


@pytest.fixture(scope="module", params=SENDERS)
def delivered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Delivered]:
    directory = tmp_path_factory.mktemp("delivery")
    recorder = PrometheusRecorder(CollectorRegistry())
    with TracerProvider().get_tracer("tests").start_as_current_span("request") as span:
        for _ in range(CALLS):
            with track_call("openai", "gpt-4o", recorder=recorder) as call:
                call.record_usage(1000, 100)
    token = directory / "token"
    token.write_text(TOKEN)
    with ExitStack() as running_now:
        metrics = running_now.enter_context(start_http_server_in_thread(recorder))
        receiver = running_now.enter_context(receiving(directory / "receiver"))
        gateway = running_now.enter_context(Gateway(receiver))
        threading.Thread(target=gateway.serve_forever, args=(0.05,), daemon=True).start()
        running_now.callback(gateway.shutdown)
        file = directory / "prometheus.yml"
        file.write_text(here(config(request.param), gateway, metrics.port, token))
        running_now.enter_context(SENDERS[request.param](file, directory))
        receiver.until(f"llm_calls_total{{status='success'}} == {CALLS}")
        trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        yield Delivered(request.param, receiver, gateway.requests, recorder, trace_id)


def here(text: str, gateway: Gateway, port: int, token: Path) -> str:
    """The page's configuration with this machine's addresses, scraping and sending often."""
    (line,) = (line for line in text.splitlines() if "- url: " in line)
    url = urlsplit(line.partition("- url: ")[2])
    soon = "send_exemplars: true\n    queue_config: {batch_send_deadline: 200ms}"
    replaced = {
        f"{url.scheme}://{url.netloc}": f"http://127.0.0.1:{gateway.server_port}",
        TARGET: f"127.0.0.1:{port}",
        "15s": "500ms",
        "send_exemplars: true": soon,
        "/etc/prometheus/grafana-cloud-token": str(token),
    }
    for of_the_page, of_here in replaced.items():
        text = text.replace(of_the_page, of_here)
    return text


@pytest.mark.parametrize("text", CONFIGS)
def test_promtool_has_nothing_against_a_configuration_of_the_page(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(text)
    done = subprocess.run(
        [required("promtool", "prometheus"), "check", "config", file],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "SUCCESS" in done.stdout


def test_all_configurations_of_the_page_are_run() -> None:
    assert [config(title) for title in SENDERS] == CONFIGS


def test_every_call_is_counted_at_the_other_end(delivered: Delivered) -> None:
    assert delivered.receiver.values("llm_calls_total{status='success'}", "job", "cluster") == {
        ("agents", "prod"): CALLS
    }


def test_histograms_arrive_bucket_by_bucket(delivered: Delivered) -> None:
    own = delivered.recorder.histogram("llm_call_cost_usd")
    assert delivered.receiver.value("llm_call_cost_usd_sum") == pytest.approx(own.sum)
    buckets = delivered.receiver.values("llm_call_cost_usd_bucket", "le")
    assert sorted(buckets.values()) == sorted(own.buckets.values())
    quantile = delivered.receiver.value(
        "histogram_quantile(0.5, sum by (le) (llm_call_cost_usd_bucket))"
    )
    assert quantile == pytest.approx(own.quantile(0.5))


def test_what_is_to_be_dropped_does_not_arrive(delivered: Delivered) -> None:
    exposed = delivered.recorder.exposition("application/openmetrics-text").body
    assert b"llm_calls_created" in exposed
    assert delivered.receiver.values("{__name__=~'.+_created'}", "__name__") == {}


def test_exemplars_arrive(delivered: Delivered) -> None:
    deadline = time.monotonic() + 20
    found: list[Any] = []
    while not found and time.monotonic() < deadline:
        found = delivered.receiver.get("query_exemplars", query="llm_latency_seconds_bucket")
        time.sleep(0.05)
    assert {e["labels"]["trace_id"] for series in found for e in series["exemplars"]} == {
        delivered.trace_id
    }


def test_requests_are_addressed_and_signed_as_the_page_says(delivered: Delivered) -> None:
    signed = base64.b64encode(f"123456:{TOKEN}".encode()).decode()
    expected = {
        "Grafana Cloud": Request("/api/prom/push", f"Basic {signed}"),
        # The tenant's header is not among what is looked at: Debian's Prometheus 2.42 sends none.
        "Mimir": Request("/api/v1/push", None),
    }
    assert set(delivered.requests) == {expected[delivered.title]}
