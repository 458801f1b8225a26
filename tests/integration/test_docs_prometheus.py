"""The queries of docs/prometheus.md return data on a real Prometheus that scraped a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import RunnableConfig
from prometheus_client import CollectorRegistry

from agentmetrics import (
    Budget,
    Budgets,
    InstrumentedAgent,
    InstrumentedCache,
    MetricsCallbackHandler,
    PrometheusRecorder,
    track_call,
)
from agentmetrics.exposition import start_http_server_in_thread
from tests.integration.pages import blocks, page, section
from tests.services.prometheus import PrometheusServer
from tests.unit.scripted import Chat, StreamingChat

QUERIES = blocks(section(page("prometheus.md"), "Queries"), "promql")
MODEL = "gpt-4o"


class Worker(InstrumentedAgent):
    """A bit of everything that the queries ask for, until Prometheus has seen it three times."""

    agent_name = "worker"

    def __init__(self, recorder: PrometheusRecorder, server: PrometheusServer) -> None:
        self.recorder = recorder
        self.server = server
        self.cached = Chat(cache=InstrumentedCache(InMemoryCache(), recorder=recorder))
        self.config: RunnableConfig = {"callbacks": [MetricsCallbackHandler(recorder)]}

    def run(self) -> dict[str, list[float]]:
        """The values that each query returns, while this very run is open."""
        for _ in range(3):
            self.work()
            self.server.scraped()
        return {query: self.values(query) for query in QUERIES}

    def work(self) -> None:
        self.cached.invoke("the same every time", self.config)
        for _ in StreamingChat().stream("hello", self.config):
            pass
        with track_call("openai", MODEL, recorder=self.recorder) as call:
            call.record_usage(1000, 100, cache_read_tokens=400)
        with suppress(TimeoutError), track_call("openai", MODEL, recorder=self.recorder):
            raise TimeoutError

    def values(self, query: str) -> list[float]:
        result = self.server.get("query", query=query)["result"]
        return [float(series["value"][1]) for series in result]


@pytest.fixture(scope="module")
def answers(prometheus: Callable[..., PrometheusServer]) -> Iterator[dict[str, list[float]]]:
    recorder = PrometheusRecorder(CollectorRegistry())
    budgets = Budgets([Budget("team", limit_usd=5)], recorder)
    with start_http_server_in_thread(recorder) as metrics:
        yield Worker(recorder, prometheus(f"127.0.0.1:{metrics.port}")).run()
    budgets.close()


def test_the_page_has_queries() -> None:
    assert len(QUERIES) >= 10


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_page_returns_data(answers: dict[str, list[float]], query: str) -> None:
    assert answers[query]
    assert all(math.isfinite(value) for value in answers[query])
    assert any(value > 0 for value in answers[query])
