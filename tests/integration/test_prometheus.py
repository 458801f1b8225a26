"""A run of agents over HTTP, as a real Prometheus server that scraped it tells it.

The other half of every comparison is the wire's own count of what it was asked and answered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agentmetrics import MetricsCallbackHandler, PrometheusRecorder
from agentmetrics.exposition import start_http_server_in_thread
from tests.integration.apps import traffic
from tests.services.prometheus import PrometheusServer
from tests.services.wire import Answer, Wire

AGENTS = {
    "planner",
    "researcher",
    "reviewer",
    "poet",
    "novelist",
    "editor",
    "clerk",
    "scribe",
}


@dataclass
class Watched:
    """A process with agents in it, the Prometheus that scrapes it, and the provider."""

    recorder: PrometheusRecorder
    prometheus: PrometheusServer
    wire: Wire


@contextmanager
def watching(wire: Wire, prometheus: Callable[..., PrometheusServer]) -> Iterator[Watched]:
    recorder = PrometheusRecorder(CollectorRegistry())
    with start_http_server_in_thread(recorder) as metrics:
        yield Watched(recorder, prometheus(f"127.0.0.1:{metrics.port}"), wire)


@pytest.fixture(scope="module")
def watched(own_wire: Wire, prometheus: Callable[..., PrometheusServer]) -> Iterator[Watched]:
    """After a run of all the agents, to which no test adds."""
    with watching(own_wire, prometheus) as watched:
        asyncio.run(traffic.run(own_wire, watched.recorder))
        watched.prometheus.scraped()
        yield watched


@pytest.fixture
def fresh(wire: Wire, prometheus: Callable[..., PrometheusServer]) -> Iterator[Watched]:
    """One that has seen no call yet."""
    with watching(wire, prometheus) as fresh:
        yield fresh


def counted(values: dict[tuple[str, ...], float]) -> Counter[tuple[str, ...]]:
    """Whole numbers as a ``Counter``, in which a 0 and no entry are the same."""
    assert all(value == int(value) for value in values.values())
    return +Counter({key: int(value) for key, value in values.items()})


class TestCalls:
    def test_calls_are_as_many_by_agent_provider_and_status_as_the_wire_answered(
        self, watched: Watched
    ) -> None:
        labels = "agent_name, provider, status"
        answer = watched.prometheus.values(
            f"sum by ({labels}) (llm_calls_total)", *labels.split(", ")
        )
        assert counted(answer) == traffic.calls_by_status(watched.wire)

    def test_calls_carry_the_name_of_the_model_that_was_asked_for(self, watched: Watched) -> None:
        answer = watched.prometheus.values(
            "sum by (model, status) (llm_calls_total)", "model", "status"
        )
        asked = Counter((call.asked, traffic.STATUS[call.ended]) for call in watched.wire.calls)
        assert counted(answer) == asked

    def test_calls_that_a_model_answered_are_counted_by_it_and_by_the_one_asked_for(
        self, watched: Watched
    ) -> None:
        labels = "provider", "model", "served_model"
        answer = counted(watched.prometheus.values("llm_served_calls_total", *labels))
        served = Counter(
            (call.api, call.asked, call.model) for call in watched.wire.having(ended="success")
        )
        assert served <= answer

    def test_calls_of_all_agents_add_up_to_all_calls(self, watched: Watched) -> None:
        ask = watched.prometheus
        by_agent = ask.values("sum by (agent_name) (llm_calls_total)", "agent_name")
        assert {agent for (agent,) in by_agent} == AGENTS
        assert sum(by_agent.values()) == ask.value("sum(llm_calls_total)")
        assert ask.value("sum(llm_calls_total)") == len(watched.wire.calls)

    def test_calls_that_failed_have_the_type_of_their_error(self, watched: Watched) -> None:
        answer = watched.prometheus.values(
            "sum by (agent_name, error_type) (llm_errors_total)", "agent_name", "error_type"
        )
        assert counted(answer) == {
            ("planner", "rate_limit"): 1,
            ("researcher", "rate_limit"): 1,
            ("researcher", "server_error"): 1,
            ("researcher", "authentication"): 1,
            ("researcher", "context_length"): 1,
            ("researcher", "connection"): 1,
            ("reviewer", "server_error"): 1,
            ("clerk", "server_error"): 2,
            ("scribe", "authentication"): 1,
        }

    def test_calls_that_failed_are_those_with_status_error(self, watched: Watched) -> None:
        ask = watched.prometheus
        errors = ask.value("sum(llm_errors_total)")
        assert errors == ask.value('sum(llm_calls_total{status="error"})') == 10

    def test_calls_have_one_latency_each(self, watched: Watched) -> None:
        ask = watched.prometheus
        assert ask.value("sum(llm_latency_seconds_count)") == len(watched.wire.calls)
        assert ask.value("sum(llm_api_latency_seconds_count)") == len(watched.wire.calls)


class TestTokens:
    def test_tokens_are_those_of_the_usage_blocks_by_agent_model_and_type(
        self, watched: Watched
    ) -> None:
        labels = "agent_name", "provider", "model", "token_type"
        answer = watched.prometheus.values("llm_tokens_total", *labels)
        assert counted(answer) == +traffic.tokens(watched.wire)

    def test_token_details_are_those_of_the_usage_blocks(self, watched: Watched) -> None:
        labels = "agent_name", "provider", "model", "token_detail"
        answer = watched.prometheus.values("llm_token_details_total", *labels)
        expected = traffic.token_details(watched.wire)
        assert {detail for *_, detail in expected} == {"cache_read", "cache_creation", "reasoning"}
        assert counted(answer) == expected

    def test_tokens_of_input_and_output_add_up_to_the_total(self, watched: Watched) -> None:
        sent = sum(call.input_tokens + call.output_tokens for call in watched.wire.calls)
        assert watched.prometheus.value("sum(llm_tokens_total)") == sent


class TestCost:
    def test_the_cost_is_what_the_raw_usage_blocks_cost_by_agent_and_model(
        self, watched: Watched
    ) -> None:
        labels = "agent_name", "provider", "model"
        answer = watched.prometheus.values("llm_cost_usd_total", *labels)
        assert answer == pytest.approx(traffic.costs(watched.wire), rel=1e-9)

    def test_the_cost_in_total_is_right_to_the_cent(self, watched: Watched) -> None:
        expected = sum(traffic.costs(watched.wire).values())
        assert expected > 0.5
        answer = watched.prometheus.value("sum(llm_cost_usd_total)")
        assert round(answer, 2) == round(expected, 2)
        assert watched.prometheus.value("sum(llm_call_cost_usd_sum)") == pytest.approx(answer)

    def test_the_cost_that_nobody_knows_is_counted_and_not_zero(self, watched: Watched) -> None:
        ask = watched.prometheus
        answer = ask.values("llm_unpriced_calls_total", "provider", "model")
        assert counted(answer) == traffic.unpriced(watched.wire)
        assert ask.values(f'llm_cost_usd_total{{model="{traffic.UNPRICED_MODEL}"}}', "model") == {}


class TestRunsAndTools:
    def test_every_run_ended_under_its_status(self, watched: Watched) -> None:
        answer = watched.prometheus.values("agent_runs_total", "agent_name", "status")
        runs = {key: n for key, n in counted(answer).items() if key[0] in ("planner", "reviewer")}
        assert runs == {
            ("planner", "success"): 4,
            ("planner", "error"): 2,
            ("planner", "cancelled"): 1,
            ("reviewer", "success"): 3,
            ("reviewer", "error"): 1,
            ("reviewer", "cancelled"): 1,
        }

    @pytest.mark.parametrize(
        ("of_runs", "of_calls"),
        [
            ("agent_run_llm_calls_sum", "llm_calls_total"),
            ("agent_run_tool_calls_sum", "tool_executions_total"),
            ("agent_run_tokens_sum", "llm_tokens_total"),
            ("agent_run_cost_usd_sum", "llm_cost_usd_total"),
        ],
    )
    def test_what_runs_did_adds_up_to_what_their_agents_did(
        self, watched: Watched, of_runs: str, of_calls: str
    ) -> None:
        only = '{agent_name=~"planner|reviewer"}'
        in_runs = watched.prometheus.values(f"sum by (agent_name) ({of_runs}{only})", "agent_name")
        alone = watched.prometheus.values(f"sum by (agent_name) ({of_calls}{only})", "agent_name")
        assert alone
        assert {key: n for key, n in in_runs.items() if n} == pytest.approx(alone)

    def test_every_tool_execution_is_counted(self, watched: Watched) -> None:
        labels = "agent_name", "tool_name", "status"
        answer = watched.prometheus.values("tool_executions_total", *labels)
        assert counted(answer) == {
            ("planner", "add", "success"): 7,
            ("planner", "fail", "error"): 1,
        }

    def test_a_retry_counts_each_attempt(self, watched: Watched) -> None:
        answer = watched.prometheus.values(
            'sum by (status) (llm_calls_total{agent_name="clerk"}) > 0', "status"
        )
        assert answer == {("error",): 2, ("success",): 6}


class TestInFlight:
    @pytest.mark.parametrize(
        "gauge",
        [
            "llm_active_calls",
            "agent_active_runs",
            "tool_executions_active",
            "agentmetrics_open_runs",
        ],
    )
    def test_gauges_of_what_is_in_flight_are_all_zero_after_the_run(
        self, watched: Watched, gauge: str
    ) -> None:
        assert watched.prometheus.value(f"count({gauge})") > 0
        assert watched.prometheus.value(f"max(abs({gauge}))") == 0

    def test_a_call_is_seen_while_it_runs_and_gone_when_it_was_cancelled(
        self, fresh: Watched
    ) -> None:
        mine = 'llm_active_calls{agent_name="waiter"}'
        asyncio.run(self._one_call_that_waits(fresh, mine))
        fresh.wire.settled()
        fresh.prometheus.scraped()
        assert fresh.prometheus.values(mine, "agent_name") == {("waiter",): 0}
        ended = fresh.prometheus.values('llm_calls_total{agent_name="waiter"} > 0', "status")
        assert ended == {("cancelled",): 1}

    async def _one_call_that_waits(self, fresh: Watched, mine: str) -> None:
        handler = MetricsCallbackHandler(fresh.recorder, agent_name="waiter")
        model = traffic.openai(fresh.wire, "waiter", "gpt-4o-mini", callbacks=[handler])
        fresh.wire.script("gpt-4o-mini", Answer(hangs=True))
        task = asyncio.create_task(model.ainvoke("x"))
        await traffic.until(lambda: fresh.wire.hanging["waiter"])
        await asyncio.to_thread(fresh.prometheus.scraped)
        assert fresh.prometheus.values(mine, "agent_name") == {("waiter",): 1}
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class TestExposition:
    def test_the_exposition_holds_nothing_that_went_wrong_inside(self, watched: Watched) -> None:
        ask = watched.prometheus
        assert ask.values("agentmetrics_handler_errors_total > 0", "event") == {}
        assert ask.values("agentmetrics_series_dropped_total > 0", "metric") == {}

    def test_the_exposition_is_readable_by_promtool(
        self, watched: Watched, promtool: Callable[[bytes], list[str]]
    ) -> None:
        # The catalogue's two gauges in MiB keep the names that people came with.
        abbreviated = "metric names should not contain abbreviated units"
        assert promtool(watched.recorder.exposition().body) == [
            f"llm_memory_available_mb {abbreviated}",
            f"llm_memory_rss_mb {abbreviated}",
        ]

    def test_the_exposition_gives_no_word_of_what_was_said(self, watched: Watched) -> None:
        said = ("what is", "few words", "prompt is too long", "ValueError")
        text = watched.recorder.exposition().body.decode()
        assert not [words for words in said if words in text]

    def test_a_slow_call_shows_in_its_latency_quantile(self, fresh: Watched) -> None:
        handler = MetricsCallbackHandler(fresh.recorder, agent_name="sloth")
        model: Any = traffic.openai(fresh.wire, "sloth", "gpt-4o-mini", callbacks=[handler])
        fresh.wire.script("gpt-4o-mini", Answer(seconds=0.3))
        model.invoke("x")
        fresh.prometheus.scraped()
        slowest = fresh.prometheus.value(
            'histogram_quantile(1, sum by (le) (llm_latency_seconds_bucket{agent_name="sloth"}))'
        )
        assert 0.3 <= slowest <= 0.5
