"""A real Prometheus stores the exemplars of real spans, and answers with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span, Tracer
from prometheus_client import CollectorRegistry

from agentmetrics import InstrumentedAgent, PrometheusRecorder
from agentmetrics.exposition import start_http_server_in_thread
from tests.services.prometheus import PrometheusServer, running_with

SAMPLED = TracerProvider().get_tracer("tests")
UNSAMPLED = TracerProvider(sampler=ALWAYS_OFF).get_tracer("tests")
CONFIG = """\
scrape_configs:
  - job_name: agents
    scrape_interval: 250ms
    scrape_timeout: 250ms
    static_configs:
      - targets: ["127.0.0.1:PORT"]
"""


@pytest.fixture(scope="module")
def recorder() -> PrometheusRecorder:
    return PrometheusRecorder(CollectorRegistry())


@pytest.fixture(scope="module")
def server(
    recorder: PrometheusRecorder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    directory: Path = tmp_path_factory.mktemp("exemplars")
    with start_http_server_in_thread(recorder) as metrics:
        config = directory / "prometheus.yml"
        config.write_text(CONFIG.replace("PORT", str(metrics.port)))
        target = f"127.0.0.1:{metrics.port}"
        with running_with(
            config, directory, [target], "--enable-feature=exemplar-storage"
        ) as server:
            yield server


def run(recorder: PrometheusRecorder, agent: str, tracer: Tracer) -> Span:
    """A run of an agent with one call, in a span of this tracer, which it returns."""

    class Agent(InstrumentedAgent):
        agent_name = agent

        def run(self) -> None:
            with self.track_call("openai", "gpt-4o") as call:
                call.record_first_token()
                call.record_usage(1000, 100)

    Agent.recorder = recorder
    with tracer.start_as_current_span("request") as span:
        Agent().run()
    return span


def stored(server: PrometheusServer, metric: str, agent: str) -> list[dict[str, Any]]:
    """The exemplars of a histogram of an agent, as ``query_exemplars`` has them."""
    series = server.get("query_exemplars", query=f'{metric}_bucket{{agent_name="{agent}"}}')
    return [exemplar for each in series for exemplar in each["exemplars"]]


@pytest.mark.parametrize(
    "metric",
    [
        "llm_latency_seconds",
        "llm_call_cost_usd",
        "llm_time_to_first_token_seconds",
        "agent_run_duration_seconds",
    ],
)
def test_prometheus_answers_with_the_trace_of_a_sampled_span(
    recorder: PrometheusRecorder, server: PrometheusServer, metric: str
) -> None:
    before = recorder.histogram(metric).sum
    span = run(recorder, f"sampled-{metric}", SAMPLED)
    server.scraped()
    (exemplar,) = stored(server, metric, f"sampled-{metric}")
    context = span.get_span_context()
    assert exemplar["labels"] == {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }
    value = recorder.histogram(metric).sum - before
    assert float(exemplar["value"]) == pytest.approx(value)
    assert exemplar["timestamp"] == pytest.approx(time.time(), abs=30)


def test_prometheus_has_none_of_an_unsampled_span(
    recorder: PrometheusRecorder, server: PrometheusServer
) -> None:
    run(recorder, "unsampled", UNSAMPLED)
    server.scraped()
    assert server.value('llm_latency_seconds_count{agent_name="unsampled"}') == 1
    assert stored(server, "llm_latency_seconds", "unsampled") == []


def test_prometheus_gets_the_next_trace_of_a_bucket_too(
    recorder: PrometheusRecorder, server: PrometheusServer
) -> None:
    seen = []
    for _ in range(3):
        seen.append(
            trace.format_trace_id(run(recorder, "again", SAMPLED).get_span_context().trace_id)
        )
        server.scraped()
    found = stored(server, "llm_call_cost_usd", "again")  # always in the same bucket
    assert [exemplar["labels"]["trace_id"] for exemplar in found] == seen
