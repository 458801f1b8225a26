"""What one flush says: names, tags, types, units, packed values, samples."""

from __future__ import annotations

import math
import os
import random
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics import Metric
from agentmetrics.plugin import SendingStore, clean_label
from agentmetrics_datadog import DogStatsDRecorder
from agentmetrics_datadog.lines import entries, lines_for
from tests.services.dogstatsd import Agent, agent_at, parsed

CALLS = Metric("calls_total", "counter", "Calls.", ("agent", "model"))
DEPTH = Metric("depth", "gauge", "Depth.", ("queue",))
UPTIME = Metric("uptime_seconds", "gauge", "Read at every flush.")
LATENCY = Metric("latency_seconds", "histogram", "Time.", ("agent",), "seconds", (1.0,))
COST = Metric("cost_usd", "histogram", "Cost.", ("agent",), "usd", (1.0,))
TOKENS = Metric("tokens", "histogram", "Tokens.", ("agent",), "tokens", (1.0,))
ACTIVE = Metric("active", "gauge", "In flight.", ("agent",), merge="sum")
OLDEST = Metric("oldest_seconds", "gauge", "Read.", ("agent",), "seconds", merge="max")
INFO = Metric("info", "gauge", "Info.", ("version",))

LONG = 3600.0  # an interval that no test sees the end of
MOST_SENT = 512
Make = Callable[..., DogStatsDRecorder]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_at("udp", tmp_path) as agent:
        yield agent


@pytest.fixture
def make(agent: Agent) -> Iterator[Make]:
    """A recorder for the Agent, which flushes when it is told to."""
    with ExitStack() as made:

        def make(**arguments: Any) -> DogStatsDRecorder:
            recorder = DogStatsDRecorder(agent.url, flush_interval_seconds=LONG, **arguments)
            made.callback(recorder.close)
            return recorder

        yield make


def said(recorder: DogStatsDRecorder, agent: Agent) -> list[str]:
    """The lines of one flush."""
    recorder.flush()
    agent.settle()
    lines = agent.lines()
    agent.packets.clear()
    return lines


class TestTypesAndUnits:
    def test_a_counter_sends_what_was_added_since_the_last_flush(
        self, make: Make, agent: Agent
    ) -> None:
        recorder = make()
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        calls.inc(3)
        assert said(recorder, agent) == ["calls_total:3|c|#agent:planner,model:gpt"]
        calls.inc(0.5)
        assert said(recorder, agent) == ["calls_total:0.5|c|#agent:planner,model:gpt"]
        assert said(recorder, agent) == []

    def test_a_gauge_is_sent_at_every_flush_and_below_zero_as_it_is(
        self, make: Make, agent: Agent
    ) -> None:
        recorder = make()
        recorder.gauge(DEPTH).labels("mail").set(-2.5)
        assert said(recorder, agent) == said(recorder, agent) == ["depth:-2.5|g|#queue:mail"]

    def test_durations_money_and_tokens_are_distributions_in_their_own_units(
        self, make: Make, agent: Agent
    ) -> None:
        recorder = make()
        recorder.histogram(LATENCY).labels("planner").observe(0.25)
        recorder.histogram(COST).labels("planner").observe(0.0000125)
        recorder.histogram(TOKENS).labels("planner").observe(1234)
        assert said(recorder, agent) == [
            "latency_seconds:0.25|d|#agent:planner",
            "cost_usd:0.0000125|d|#agent:planner",
            "tokens:1234|d|#agent:planner",
        ]

    def test_a_gauge_that_is_read_is_read_at_every_flush(self, make: Make, agent: Agent) -> None:
        recorder, values = make(), iter((1.0, 2.0))
        recorder.observe_gauge(UPTIME, lambda: next(values))
        assert said(recorder, agent) == ["uptime_seconds:1|g"]
        assert said(recorder, agent) == ["uptime_seconds:2|g"]

    @pytest.mark.parametrize("value", [math.inf, -math.inf])
    def test_what_no_line_can_say_is_left_out(self, make: Make, agent: Agent, value: float) -> None:
        recorder = make()
        recorder.histogram(COST).labels("planner").observe(value)
        recorder.histogram(COST).labels("planner").observe(-1)
        recorder.gauge(DEPTH).labels("mail").set(value)
        assert said(recorder, agent) == ["cost_usd:-1|d|#agent:planner"]


class TestTags:
    @pytest.mark.parametrize(
        ("value", "tag"),
        [
            ("gpt-4.1", "gpt-4.1"),
            ("meta/Llama 3", "meta/Llama_3"),
            ("a:1|c|#b:c,d:e", "a:1_c_#b:c_d:e"),
            ("línea", "línea"),
            ("a\nb", "a_b"),
            (" padded ", "padded"),
        ],
    )
    def test_a_label_value_is_one_tag(self, make: Make, agent: Agent, value: str, tag: str) -> None:
        recorder = make()
        recorder.gauge(DEPTH).labels(value).set(1)
        [line] = said(recorder, agent)
        assert line == f"depth:1|g|#queue:{tag}"
        assert parsed(line).tags == (("queue", tag),)

    @pytest.mark.parametrize("value", ["", None, " "])
    def test_an_empty_label_value_is_no_tag(
        self, make: Make, agent: Agent, value: str | None
    ) -> None:
        recorder = make()
        recorder.counter(CALLS).labels(value, "gpt").inc()
        recorder.gauge(DEPTH).labels(value).set(1)
        assert said(recorder, agent) == ["calls_total:1|c|#model:gpt", "depth:1|g"]

    def test_constant_tags_are_on_every_series(self, make: Make, agent: Agent) -> None:
        recorder = make(tags={"env": "prod", "team": "a,b", "none": ""})
        recorder.gauge(DEPTH).labels("mail").set(1)
        assert said(recorder, agent) == ["depth:1|g|#env:prod,team:a_b,queue:mail"]

    def test_a_label_stands_before_a_constant_tag_of_its_name(
        self, make: Make, agent: Agent
    ) -> None:
        recorder = make(tags={"version": "7", "env": "prod"})
        recorder.gauge(INFO).labels("0.1.0").set(1)
        assert said(recorder, agent) == ["info:1|g|#version:0.1.0,env:prod"]

    def test_a_gauge_of_what_goes_on_now_names_its_process(self, make: Make, agent: Agent) -> None:
        for process_tag, tag in (("pid", f"pid:{os.getpid()},"), ("", "")):
            recorder = make(process_tag=process_tag)
            recorder.gauge(ACTIVE).labels("planner").inc()
            recorder.observe_gauge(OLDEST, lambda: {("planner",): 2.5})
            recorder.gauge(DEPTH).labels("mail").set(1)
            assert said(recorder, agent) == [
                f"active:1|g|#{tag}agent:planner",
                "depth:1|g|#queue:mail",
                f"oldest_seconds:2.5|g|#{tag}agent:planner",
            ]

    def test_a_prefix_stands_before_every_name(self, make: Make, agent: Agent) -> None:
        recorder = make(prefix=".shop.agents 1..")
        recorder.gauge(DEPTH).labels("mail").set(1)
        assert said(recorder, agent) == ["shop.agents_1.depth:1|g|#queue:mail"]


class TestProtocols:
    def test_the_container_follows_the_tags(self, make: Make, agent: Agent) -> None:
        recorder = make(container_id="in-4711")
        recorder.gauge(DEPTH).labels("mail").set(1)
        recorder.gauge(DEPTH).labels("").set(2)
        assert said(recorder, agent) == ["depth:1|g|#queue:mail|c:in-4711", "depth:2|g|c:in-4711"]
        assert {each.container for each in agent.messages()} <= {"in-4711"}

    @pytest.mark.parametrize(
        ("protocol", "lines"),
        [
            ("1.0", ["cost_usd:1|d|#agent:a", "cost_usd:2|d|#agent:a"]),
            ("1.1", ["cost_usd:1:2|d|#agent:a"]),
            ("1.2", ["cost_usd:1:2|d|#agent:a|c:ci-1"]),
        ],
    )
    def test_an_older_protocol_has_less_in_its_lines(
        self, make: Make, agent: Agent, protocol: str, lines: list[str]
    ) -> None:
        recorder = make(protocol=protocol, container_id="ci-1")
        for value in (1, 2):
            recorder.histogram(COST).labels("a").observe(value)
        assert said(recorder, agent) == lines

    @pytest.mark.parametrize(("scheme", "most"), [("udp", 1432), ("unix", 8192)])
    def test_lines_and_packets_are_full_and_no_longer_than_allowed(
        self, scheme: str, most: int, tmp_path: Path
    ) -> None:
        with agent_at(scheme, tmp_path) as agent:
            recorder = DogStatsDRecorder(agent.url, flush_interval_seconds=LONG)
            sent = {}
            for name in ("é" * 100, *(f"agent-{number}" for number in range(20))):
                values = [random.uniform(0, 10) for _ in range(500)]
                sent[name] = values
                for value in values:
                    recorder.histogram(COST).labels(name).observe(value)
            recorder.close()
            agent.settle()
            sizes = [len(packet) for packet in agent.packets]
            assert most - 250 < max(sizes) <= most
            heard: dict[str, list[float]] = {}
            for each in agent.messages():
                heard.setdefault(dict(each.tags)["agent"], []).extend(each.values)
            assert heard == sent
            assert sum(len(line) for line in agent.lines()) / len(agent.lines()) > most / 2


class TestSamples:
    @pytest.mark.parametrize("observed", [513, 700, 1024, 5000, 25_000])
    def test_the_agent_counts_as_many_as_were_observed(
        self, make: Make, agent: Agent, observed: int
    ) -> None:
        recorder, cost = make(), 0.0
        for _ in range(observed):
            value = random.uniform(1, 2)
            cost += value
            recorder.histogram(COST).labels("planner").observe(value)
        lines = said(recorder, agent)
        messages = [parsed(line) for line in lines]
        assert sum(len(each.values) for each in messages) == MOST_SENT
        assert sum(len(each.values) * each.weight for each in messages) == observed
        total = sum(sum(each.values) * each.weight for each in messages)
        assert total == pytest.approx(cost, rel=0.1)

    def test_memory_does_not_grow_with_what_is_observed(self, make: Make) -> None:
        series = make().histogram(COST).labels("planner")
        for _ in range(10 * MOST_SENT):
            series.observe(1)
        assert len(series.sample) == MOST_SENT  # type: ignore[attr-defined]


texts = st.text() | st.text(alphabet="ab.:|@#/;=, \n\r\t\0é\u2028\ud800", max_size=200) | st.none()
labels = st.tuples(texts, texts)
numbers = st.floats(allow_nan=False)
updates = st.lists(
    st.tuples(st.just(CALLS), labels, st.floats(min_value=0, allow_nan=False))
    | st.tuples(st.just(DEPTH), st.tuples(texts), numbers)
    | st.tuples(st.just(COST), st.tuples(texts), numbers),
    max_size=60,
)


@given(st.text(alphabet="ab.:|@ é\n", max_size=20), st.dictionaries(texts, texts), updates)
def test_every_line_is_of_the_grammar_and_its_values_are_what_was_recorded(
    prefix: str,
    tags: dict[str, str],
    recorded: list[tuple[Metric, tuple[object, ...], float]],
) -> None:
    tags = {f"t{clean_label(key)}": value for key, value in tags.items()}
    store = SendingStore(lines_for(f"p{prefix}", tags, "pid", "ci-1"))
    observed: Tally[float] = Tally()
    for metric, values, number in recorded:
        store.declare(metric)
        series = store.bind(metric, tuple(map(clean_label, values)))
        update = {"counter": "inc", "gauge": "set", "histogram": "observe"}[metric.kind]
        getattr(series, update)(number)
        observed[number] += metric is COST and abs(number) <= 1e300
    store.take()
    for line in entries(store.taken.popleft(), 1432):
        found = parsed(line)
        assert found.container == "ci-1"
        if found.type == "d":
            observed.subtract(found.values)
    assert not +observed
    assert not -observed
