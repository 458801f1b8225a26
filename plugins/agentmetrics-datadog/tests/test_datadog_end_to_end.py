"""The run of agents over HTTP, as an Agent received it: what the wire counted is what it has."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agentmetrics import FanoutRecorder, MemoryRecorder
from agentmetrics.catalog import CATALOG
from agentmetrics_datadog import DogStatsDRecorder
from tests.integration.apps import traffic
from tests.services.dogstatsd import Agent, agent_at
from tests.services.wire import Wire

METRICS = {metric.name: metric for metric in CATALOG}


@dataclass
class Received:
    """What the Agent had when the program was over, what the wire had counted, and what was kept in
    the process."""

    wire: Wire
    memory: MemoryRecorder
    agent: Agent

    def series(self, metric: str) -> dict[tuple[str, ...], float]:
        """A counter by its label values; an empty one is ``none`` as in the expectations."""
        return {
            tuple(dict(tags).get(label, "none") for label in METRICS[metric].labels): value
            for (name, tags), value in self.agent.counters().items()
            if name == metric
        }

    def summed(self, metric: str, *labels: str) -> Counter[tuple[str, ...]]:
        """The sums by these labels."""
        positions = [METRICS[metric].labels.index(label) for label in labels]
        total: Counter[tuple[str, ...]] = Counter()
        for values, number in self.series(metric).items():
            total[tuple(values[i] for i in positions)] += int(number)
        return +total

    def distribution(self, metric: str) -> tuple[int, float]:
        """The number of its values, and their sum, over all series."""
        found = [v for (name, _), v in self.agent.distributions().items() if name == metric]
        return sum(count for count, _ in found), sum(total for _, total in found)


@pytest.fixture(scope="module")
def received(own_wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Received]:
    own_wire.forget()
    with agent_at("unix", tmp_path_factory.mktemp("agent")) as agent:
        memory = MemoryRecorder()
        sending = DogStatsDRecorder(agent.url, flush_interval_seconds=0.1)
        recorder = FanoutRecorder([memory, sending])
        asyncio.run(traffic.run(own_wire, recorder))
        recorder.close()
        agent.settle()
        yield Received(own_wire, memory, agent)


def test_calls_are_as_many_by_agent_provider_and_status_as_the_wire_answered(
    received: Received,
) -> None:
    answer = received.summed("llm_calls_total", "agent_name", "provider", "status")
    assert answer == traffic.calls_by_status(received.wire)


def test_distributions_have_the_count_and_the_sum_of_the_histograms(received: Received) -> None:
    histograms = [metric.name for metric in METRICS.values() if metric.kind == "histogram"]
    kept = {name: received.memory.histogram(name) for name in histograms}
    assert kept["llm_latency_seconds"].count == len(received.wire.calls)
    for name, histogram in kept.items():
        count, total = received.distribution(name)
        assert count == histogram.count, name
        assert total == pytest.approx(histogram.sum), name


def test_tokens_are_those_of_the_usage_blocks(received: Received) -> None:
    assert sum(received.series("llm_tokens_total").values()) == sum(
        traffic.tokens(received.wire).values()
    )


def test_money_is_in_usd_as_a_count_and_as_a_distribution(received: Received) -> None:
    expected = sum(traffic.costs(received.wire).values())
    assert sum(received.series("llm_cost_usd_total").values()) == pytest.approx(expected)
    assert received.distribution("llm_call_cost_usd")[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    "gauge",
    ["llm_active_calls", "agent_active_runs", "tool_executions_active", "agentmetrics_open_runs"],
)
def test_gauges_of_what_is_in_flight_end_at_zero(received: Received, gauge: str) -> None:
    assert set(received.agent.gauges_of(gauge)) == {0}


def test_nothing_was_dropped(received: Received) -> None:
    assert received.agent.counted("agentmetrics_packets_dropped_total") == 0
    assert received.agent.counted("agentmetrics_handler_errors_total") == 0
