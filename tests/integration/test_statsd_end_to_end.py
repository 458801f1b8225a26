"""The run of agents over HTTP once more, as a real StatsD daemon received it, over UDP and TCP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agentmetrics import StatsDRecorder
from agentmetrics.catalog import CATALOG
from tests.integration.apps import traffic
from tests.services.statsd import StatsDDaemon, eventually
from tests.services.wire import Wire

PREFIX = "shop"
METRICS = {metric.name: metric for metric in CATALOG}


@dataclass
class Received:
    """What the daemon had when the program was over, and what the wire had counted."""

    wire: Wire
    counters: dict[str, float]
    gauges: dict[str, float]
    timers: dict[str, list[float]]

    def series(self, metric: str) -> dict[tuple[str, ...], float]:
        """A counter or gauge by its label values; they stand in the name in the labels' order."""
        values = self.gauges if METRICS[metric].kind == "gauge" else self.counters
        return self._of(metric, values)

    def timings(self, metric: str) -> int:
        """How many values a timer has received."""
        found = self._of(metric, {name: len(values) for name, values in self.timers.items()})
        return int(sum(found.values()))

    def _of(self, metric: str, values: dict[str, float]) -> dict[tuple[str, ...], float]:
        beginning = f"{PREFIX}.{metric}."
        found = {
            tuple(name.removeprefix(beginning).split(".")): value
            for name, value in values.items()
            if name.startswith(beginning)
        }
        assert all(len(labels) == len(METRICS[metric].labels) for labels in found), found
        return found

    def summed(self, metric: str, *labels: str) -> Counter[tuple[str, ...]]:
        """The sums by these labels."""
        positions = [METRICS[metric].labels.index(label) for label in labels]
        total: Counter[tuple[str, ...]] = Counter()
        for values, number in self.series(metric).items():
            assert number == int(number)
            total[tuple(values[i] for i in positions)] += int(number)
        return +total


@pytest.fixture(scope="module", params=["udp", "tcp"])
def received(
    request: pytest.FixtureRequest, own_wire: Wire, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Received]:
    daemon = StatsDDaemon(tmp_path_factory.mktemp("statsd"))
    daemon.start()
    try:
        own_wire.forget()
        protocol = request.param
        recorder = StatsDRecorder(daemon.host, daemon.port(protocol), PREFIX, protocol, 0.1)
        asyncio.run(traffic.run(own_wire, recorder))
        recorder.close()
        calls = f"{PREFIX}.llm_calls_total."
        eventually(
            lambda: (
                sum(n for name, n in daemon.counters().items() if name.startswith(calls))
                >= len(own_wire.calls)
            ),
            5.0,
        )
        yield Received(own_wire, daemon.counters(), daemon.gauges(), daemon.timers())
    finally:
        daemon.stop()


def test_calls_are_as_many_by_agent_provider_and_status_as_the_wire_answered(
    received: Received,
) -> None:
    answer = received.summed("llm_calls_total", "agent_name", "provider", "status")
    assert answer == traffic.calls_by_status(received.wire)


def test_errors_are_the_calls_with_status_error(received: Received) -> None:
    errors = received.summed("llm_errors_total", "agent_name")
    failed = received.summed("llm_calls_total", "agent_name", "status")
    assert errors == {(agent,): n for (agent, status), n in failed.items() if status == "error"}
    assert errors.total() == 10


def test_tokens_are_those_of_the_usage_blocks(received: Received) -> None:
    assert received.series("llm_tokens_total") == +traffic.tokens(received.wire)
    assert received.series("llm_token_details_total") == traffic.token_details(received.wire)


def test_cost_is_what_the_raw_usage_blocks_cost(received: Received) -> None:
    expected = traffic.costs(received.wire)
    assert received.series("llm_cost_usd_total") == pytest.approx(expected, rel=1e-9)
    total = sum(received.series("llm_cost_usd_total").values())
    assert round(total, 2) == round(sum(expected.values()), 2) > 0.5


def test_calls_without_a_price_are_counted(received: Received) -> None:
    assert received.series("llm_unpriced_calls_total") == traffic.unpriced(received.wire)


def test_runs_and_tools_are_all_there(received: Received) -> None:
    runs = received.series("agent_runs_total")
    assert {status: runs["planner", status] for status in ("success", "error", "cancelled")} == {
        "success": 4,
        "error": 2,
        "cancelled": 1,
    }
    assert received.series("tool_executions_total") == {
        ("planner", "add", "success"): 7,
        ("planner", "fail", "error"): 1,
    }


def test_every_call_has_a_latency(received: Received) -> None:
    assert received.timings("llm_latency_seconds") == len(received.wire.calls)


@pytest.mark.parametrize(
    "gauge",
    ["llm_active_calls", "agent_active_runs", "tool_executions_active", "agentmetrics_open_runs"],
)
def test_gauges_of_what_is_in_flight_end_at_zero(received: Received, gauge: str) -> None:
    series = received.series(gauge)
    assert series
    assert set(series.values()) == {0}


def test_nothing_was_dropped_or_misunderstood(received: Received) -> None:
    assert sum(received.series("agentmetrics_packets_dropped_total").values()) == 0
    assert sum(received.series("agentmetrics_handler_errors_total").values()) == 0
