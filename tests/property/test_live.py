"""What a watch adds up is what plain arithmetic gives, whatever restarts and comes when."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from agentmetrics import MemoryRecorder, Namespace, PrometheusRecorder, catalog
from agentmetrics.live.build import details, view
from agentmetrics.live.samples import (
    Snapshot,
    from_exposition,
    from_families,
    from_recorder,
    summed,
)
from agentmetrics.live.watch import Watch
from agentmetrics.recording.metric import clean_label

AGENT = ("planner",)
RUNS = catalog.AGENT_RUNS.name
DONE = ("planner", "success")

amounts = st.integers(0, 1000).map(lambda n: n / 8)  # whose sums are exact
restarts = st.one_of(amounts, st.just("restart"))
names = st.text(max_size=8)


def snapshot(time: float, done: float, **gauges: float) -> Snapshot:
    return Snapshot(
        time,
        {RUNS: {DONE: done}, **{f"agent_{name}": {AGENT: value} for name, value in gauges.items()}},
    )


@given(st.lists(restarts, max_size=30))
def test_growth_is_the_sum_of_increments_and_no_restart_is_a_negative_rate(steps) -> None:
    watch, value, grown = Watch(), 0.0, 0.0
    watch.add("a", snapshot(0.0, 0.0))
    for second, step in enumerate(steps, start=1):
        value = 0.0 if step == "restart" else value + step
        grown += 0.0 if step == "restart" else step
        watch.add("a", snapshot(float(second), value))
    found = watch.growth(1000.0)
    assert found.amounts.get(RUNS, {}).get(DONE, 0.0) == grown
    assert found.seconds == len(steps)


@given(st.lists(st.tuples(st.sampled_from("abc"), restarts), max_size=30))
def test_sources_are_followed_one_by_one_and_added(steps) -> None:
    watch, values, grown = Watch(), dict.fromkeys("abc", 0.0), 0.0
    for source in values:
        watch.add(source, snapshot(0.0, 0.0))
    for second, (source, step) in enumerate(steps, start=1):
        values[source] = 0.0 if step == "restart" else values[source] + step
        grown += 0.0 if step == "restart" else step
        watch.add(source, snapshot(float(second), values[source]))
    assert watch.growth(1000.0).amounts.get(RUNS, {}).get(DONE, 0.0) == grown
    assert watch.totals().get(RUNS, {}).get(DONE, 0.0) == grown


@given(st.lists(amounts, min_size=1, max_size=30), st.integers(1, 40))
def test_parts_of_a_window_add_up_to_it(steps, window) -> None:
    watch, value = Watch(), 0.0
    watch.add("a", snapshot(0.0, 0.0))
    for step in steps:
        value += step
        watch.add("a", snapshot(watch.now + 3.0, value))
    whole = watch.growth(float(window)).amounts.get(RUNS, {}).get(DONE, 0.0)
    course = watch.course(RUNS, float(window), 7).get(DONE, [0.0])
    assert all(part >= -1e-9 for part in course)
    assert math.isclose(sum(course), whole, abs_tol=1e-6)


@given(st.lists(st.tuples(amounts, amounts, amounts), min_size=1, max_size=6))
def test_counts_and_what_is_in_flight_are_summed_and_of_ages_the_highest_holds(sources) -> None:
    found = summed(
        [
            snapshot(float(i), done, active_runs=active, oldest_active_run_seconds=age)
            for i, (done, active, age) in enumerate(sources)
        ]
    )
    assert found.time == len(sources) - 1
    assert found.series == {
        RUNS: {DONE: sum(done for done, _, _ in sources)},
        "agent_active_runs": {AGENT: sum(active for _, active, _ in sources)},
        "agent_oldest_active_run_seconds": {AGENT: max(age for _, _, age in sources)},
    }


def record(recorder, agent: str, seconds: list[float], tokens: float) -> None:
    call = (agent, "openai", "gpt-4o")
    for each in seconds:
        recorder.histogram(catalog.LLM_LATENCY).labels(*call).observe(each)
        recorder.counter(catalog.LLM_CALLS).labels(*call, "success").inc()
    recorder.counter(catalog.LLM_TOKENS).labels(*call, "input").inc(tokens)
    recorder.gauge(catalog.AGENT_OLDEST_ACTIVE_RUN).labels(agent).set(tokens)
    recorder.gauge(catalog.BUDGET_LIMIT).labels(agent, "daily").set(tokens)


@settings(max_examples=40)
@given(names, st.lists(st.floats(0, 700), max_size=8), amounts, st.sampled_from(["", "shop"]))
def test_both_formats_and_the_recorder_say_the_same(agent, seconds, tokens, namespace) -> None:
    registry = CollectorRegistry()
    prometheus = PrometheusRecorder(registry=registry)
    recorder = Namespace(prometheus, namespace) if namespace else prometheus
    recorder.gauge(catalog.BUILD_INFO).labels("1").set(1)
    record(recorder, agent, seconds, tokens)
    memory = MemoryRecorder()
    record(memory, agent, seconds, tokens)
    expected = from_recorder(memory, 1.0)
    for made in (generate_latest(registry), generate_openmetrics(registry)):
        assert from_exposition(made.decode(), 1.0) == expected
    assert from_families(registry.collect(), 1.0) == expected


@given(st.lists(st.tuples(st.text(max_size=8), amounts), min_size=1, max_size=5))
def test_labels_are_read_as_they_were_written(found) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("agent_active_runs", "Runs.", ["agent_name"], registry=registry)
    for agent, value in found:
        gauge.labels(agent.encode(errors="replace").decode()).inc(value)
    expected: dict = {}
    for agent, value in found:
        key = (clean_label(agent.encode(errors="replace").decode()),)
        expected[key] = expected.get(key, 0.0) + value
    for made in (generate_latest(registry), generate_openmetrics(registry)):
        assert from_exposition(made.decode(), 1.0).series == {"agent_active_runs": expected}


@given(st.lists(st.floats(0, 700), min_size=1, max_size=20), st.sampled_from([0.5, 0.95]))
def test_quantiles_are_those_of_the_histogram(seconds, q) -> None:
    memory, watch = MemoryRecorder(), Watch()
    watch.add("here", from_recorder(memory, 0.0))
    record(memory, "planner", seconds, 1.0)
    watch.add("here", from_recorder(memory, 10.0))
    flow = view(watch).agents[0].flow
    found = flow.p50_seconds if q == 0.5 else flow.p95_seconds
    assert found == pytest.approx(memory.histogram("llm_latency_seconds").quantile(q))


@settings(max_examples=40)
@given(st.lists(st.tuples(names, st.lists(st.floats(0, 700), min_size=1, max_size=3), amounts)))
def test_a_view_is_its_rows_added_and_is_json(agents) -> None:
    memory, watch = MemoryRecorder(), Watch()
    watch.add("here", from_recorder(memory, 0.0))
    for agent, seconds, tokens in agents:
        record(memory, agent, seconds, tokens)
    watch.add("here", from_recorder(memory, 7.0))
    seen = view(watch)
    per_second = sum(tokens for _, _, tokens in agents) / 7
    assert seen.flow.input_tokens_per_second == pytest.approx(per_second)
    of_agents = [row.flow.input_tokens_per_second or 0.0 for row in seen.agents]
    assert sum(of_agents) == pytest.approx(per_second)
    for row in seen.agents:
        alone = details(watch, row.agent)
        assert alone is not None
        assert alone.row == row
    json.dumps(dataclasses.asdict(seen), allow_nan=False)
