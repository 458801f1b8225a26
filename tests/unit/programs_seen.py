"""Programs that somebody looks at: what they record, and their real /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from agentmetrics import PrometheusRecorder, Recorder, catalog
from agentmetrics.exposition import MetricsThread, start_http_server_in_thread


def record(recorder: Recorder, agent: str, count: int, model: str = "gpt-4o") -> None:
    """Calls that take 0.8 s and cost a cent, one of which fails."""
    call = (agent, "openai", model)
    recorder.counter(catalog.LLM_CALLS).labels(*call, "success").inc(count)
    recorder.counter(catalog.LLM_CALLS).labels(*call, "error").inc()
    recorder.counter(catalog.LLM_ERRORS).labels(*call, "rate_limit").inc()
    recorder.counter(catalog.LLM_TOKENS).labels(*call, "input").inc(1200 * count)
    recorder.counter(catalog.LLM_TOKENS).labels(*call, "output").inc(90 * count)
    recorder.counter(catalog.LLM_TOKEN_DETAILS).labels(*call, "cache_read").inc(300 * count)
    recorder.counter(catalog.LLM_COST).labels(*call).inc(0.01 * count)
    recorder.histogram(catalog.LLM_LATENCY).labels(*call).observe(0.8)
    recorder.histogram(catalog.LLM_TIME_TO_FIRST_TOKEN).labels(*call).observe(0.2)
    recorder.counter(catalog.AGENT_RUNS).labels(agent, "success").inc()
    recorder.histogram(catalog.AGENT_RUN_LLM_CALLS).labels(agent).observe(count)
    recorder.counter(catalog.TOOL_EXECUTIONS).labels(agent, "search", "success").inc(count)
    recorder.histogram(catalog.TOOL_EXECUTION_DURATION).labels(agent, "search").observe(0.3)


def opened(recorder: Recorder, agent: str, runs: int, oldest: float) -> None:
    recorder.gauge(catalog.AGENT_ACTIVE_RUNS).labels(agent).set(runs)
    recorder.gauge(catalog.AGENT_OLDEST_ACTIVE_RUN).labels(agent).set(oldest)
    recorder.gauge(catalog.LLM_ACTIVE_CALLS).labels(agent, "openai").set(runs)


@contextmanager
def served(port: int = 0) -> Iterator[tuple[PrometheusRecorder, MetricsThread]]:
    """A program of ours with a real /metrics."""
    recorder = PrometheusRecorder(registry=CollectorRegistry())
    with start_http_server_in_thread(recorder, port=port) as server:
        yield recorder, server
