"""Exemplars: which trace an observation of a histogram belongs to, in OpenMetrics."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, ToolCall
from langchain_core.tools import tool
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import agentmetrics
from agentmetrics import (
    ConfigurationError,
    FanoutRecorder,
    InstrumentedAgent,
    MemoryRecorder,
    Metric,
    MetricsCallbackHandler,
    Namespace,
    PrometheusRecorder,
    Recorder,
    track_call,
)
from agentmetrics.recording.exemplars import OPENTELEMETRY
from tests.unit.scripted import Chat, StreamingChat, answer

ROOT = Path(__file__).parents[2]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
TRACER = TracerProvider().get_tracer("tests")
UNSAMPLED = TracerProvider(sampler=ALWAYS_OFF).get_tracer("tests")
WAIT = Metric("wait_seconds", "histogram", "Waiting.", ("queue",), "seconds", (1.0, 10.0))
MAX_LENGTH = 128
"""The most characters that OpenMetrics 1.0 allows for the names and values of an exemplar."""


class Shown(NamedTuple):
    """An exemplar as a scraper reads it."""

    bound: str
    trace_id: str
    span_id: str
    value: float
    timestamp: float


@pytest.fixture
def recorder() -> PrometheusRecorder:
    return PrometheusRecorder(CollectorRegistry())


def exemplars(recorder: PrometheusRecorder, name: str, **labels: str) -> list[Shown]:
    """The exemplars of the buckets of these series, in the order of the bounds."""
    text = recorder.exposition(OPENMETRICS).body.decode()
    return [
        Shown(
            sample.labels["le"],
            sample.exemplar.labels["trace_id"],
            sample.exemplar.labels["span_id"],
            sample.exemplar.value,
            float(sample.exemplar.timestamp),
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar and family.name == name and labels.items() <= sample.labels.items()
    ]


def trace_ids(recorder: PrometheusRecorder, name: str, **labels: str) -> set[str]:
    return {shown.trace_id for shown in exemplars(recorder, name, **labels)}


def trace_id(span: Span) -> str:
    return trace.format_trace_id(span.get_span_context().trace_id)


def call(recorder: Recorder, agent_name: str = "planner") -> None:
    with track_call("openai", "gpt-4o", agent_name=agent_name, recorder=recorder) as made:
        made.record_first_token()
        made.record_usage(1000, 100)


class TestACallInASampledSpan:
    HISTOGRAMS = (
        "llm_latency_seconds",
        "llm_api_latency_seconds",
        "llm_call_cost_usd",
        "llm_time_to_first_token_seconds",
    )

    @pytest.mark.parametrize("name", HISTOGRAMS)
    def test_a_call_in_a_sampled_span_is_the_exemplar_of_its_buckets(
        self, recorder: PrometheusRecorder, name: str
    ) -> None:
        before = time.time()
        with TRACER.start_as_current_span("request") as span:
            call(recorder)
        (shown,) = exemplars(recorder, name)
        context = span.get_span_context()
        assert shown.trace_id == trace.format_trace_id(context.trace_id)
        assert shown.span_id == trace.format_span_id(context.span_id)
        assert before <= shown.timestamp <= time.time()
        assert shown.value == pytest.approx(recorder.histogram(name).sum)
        assert shown.value <= float(shown.bound)

    def test_a_call_in_a_sampled_span_has_an_exemplar_of_no_more_than_128_characters(
        self, recorder: PrometheusRecorder
    ) -> None:
        with TRACER.start_as_current_span("request"):
            call(recorder)
        (shown,) = exemplars(recorder, "llm_latency_seconds")
        assert len(f"trace_id{shown.trace_id}span_id{shown.span_id}") == 63 < MAX_LENGTH

    def test_a_call_in_a_sampled_span_is_no_exemplar_in_text_0_0_4(
        self, recorder: PrometheusRecorder
    ) -> None:
        with TRACER.start_as_current_span("request") as span:
            call(recorder)
        text = recorder.exposition("text/plain").body.decode()
        assert "llm_latency_seconds_bucket" in text
        assert trace_id(span) not in text
        assert " # {" not in text

    def test_a_failed_call_is_an_exemplar_too(self, recorder: PrometheusRecorder) -> None:
        with (
            TRACER.start_as_current_span("request", record_exception=False) as span,
            pytest.raises(TimeoutError),
            track_call("openai", "gpt-4o", recorder=recorder),
        ):
            raise TimeoutError
        assert trace_ids(recorder, "llm_latency_seconds") == {trace_id(span)}

    def test_a_call_in_a_remote_caller_s_sampled_span_is_an_exemplar(
        self, recorder: PrometheusRecorder
    ) -> None:
        # of a program that only passes traces on, and has no SDK of its own
        with TRACER.start_as_current_span("elsewhere") as span:
            context = span.get_span_context()
        with trace.use_span(trace.NonRecordingSpan(context)):
            call(recorder)
        assert trace_ids(recorder, "llm_latency_seconds") == {trace_id(span)}


class TestNoExemplar:
    def test_a_call_in_an_unsampled_span_is_no_exemplar(self, recorder: PrometheusRecorder) -> None:
        with UNSAMPLED.start_as_current_span("request") as span:
            assert span.get_span_context().is_valid
            call(recorder)
        assert exemplars(recorder, "llm_latency_seconds") == []

    def test_a_call_outside_of_any_span_is_no_exemplar(self, recorder: PrometheusRecorder) -> None:
        call(recorder)
        assert exemplars(recorder, "llm_latency_seconds") == []

    def test_a_program_without_opentelemetry_records_and_does_not_import_it(self) -> None:
        program = (
            "import sys\n"
            "from agentmetrics import PrometheusRecorder, track_call\n"
            "recorder = PrometheusRecorder()\n"
            "with track_call('openai', 'gpt-4o', recorder=recorder) as call:\n"
            "    call.record_usage(1000, 100)\n"
            f"body = recorder.exposition({OPENMETRICS!r}).body.decode()\n"
            "print('llm_latency_seconds_bucket' in body, ' # {' in body)\n"
            "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
        )
        done = run(program, {})
        assert (done.stdout, done.stderr) == ("True False\n[]\n", "")

    @pytest.mark.parametrize("broken", ["half imported", "raises"])
    def test_a_tracer_that_fails_costs_no_call_its_metrics(
        self, recorder: PrometheusRecorder, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        module: Any = ModuleType(OPENTELEMETRY)
        if broken == "raises":
            module.get_current_span = lambda: 1 / 0
        monkeypatch.setitem(sys.modules, OPENTELEMETRY, module)
        call(recorder)
        assert recorder.histogram("llm_latency_seconds").count == 1
        assert recorder.value("agentmetrics_handler_errors_total") == 0
        assert exemplars(recorder, "llm_latency_seconds") == []


class TestABucket:
    def test_a_bucket_keeps_the_last_observation_in_a_span(
        self, recorder: PrometheusRecorder
    ) -> None:
        series = recorder.histogram(WAIT).labels("a")
        for value in (0.25, 0.5):
            with TRACER.start_as_current_span("request") as last:
                series.observe(value)
        series.observe(0.75)  # in none
        (shown,) = exemplars(recorder, WAIT.name)
        assert (shown.bound, shown.value, shown.trace_id) == ("1.0", 0.5, trace_id(last))

    def test_a_bucket_has_an_exemplar_of_its_own(self, recorder: PrometheusRecorder) -> None:
        series = recorder.histogram(WAIT).labels("a")
        seen = []
        for value in (100.0, 1.0, 10.0):
            with TRACER.start_as_current_span("request") as span:
                series.observe(value)
                seen.append((value, trace_id(span)))
        found = [(shown.value, shown.trace_id) for shown in exemplars(recorder, WAIT.name)]
        assert found == sorted(seen)
        assert [s.bound for s in exemplars(recorder, WAIT.name)] == ["1.0", "10.0", "+Inf"]

    def test_a_bucket_has_none_after_a_reset(self, recorder: PrometheusRecorder) -> None:
        with TRACER.start_as_current_span("request"):
            recorder.histogram(WAIT).labels("a").observe(0.5)
            call(recorder)
        recorder.reset()
        assert exemplars(recorder, WAIT.name) == exemplars(recorder, "llm_latency_seconds") == []
        with TRACER.start_as_current_span("request") as span:
            call(recorder)
        assert trace_ids(recorder, "llm_latency_seconds") == {trace_id(span)}

    def test_a_batch_keeps_the_exemplars_that_single_updates_keep(
        self, recorder: PrometheusRecorder
    ) -> None:
        single, batched = (recorder.histogram(WAIT).labels(queue) for queue in ("a", "b"))
        jobs = recorder.counter(Metric("jobs_total", "counter", "Jobs.")).labels()
        count = recorder.batch((jobs,), (), (batched, batched))
        with TRACER.start_as_current_span("request"), recorder.update():
            count(1.0, 0.5, 5.0)
            single.observe(0.5)
            single.observe(5.0)
        without_times = [
            [shown[:4] for shown in exemplars(recorder, WAIT.name, queue=queue)]
            for queue in ("a", "b")
        ]
        assert without_times[0] == without_times[1] != []

    @given(
        value=st.floats(min_value=0),  # in OpenMetrics, no sum is below 0
        of_trace=st.integers(1, 2**128 - 1),
        of_span=st.integers(1, 2**64 - 1),
        flags=st.integers(0, 255).map(lambda bits: bits | trace.TraceFlags.SAMPLED),
    )
    def test_a_bucket_shows_any_value_and_any_ids_as_they_are(
        self, value: float, of_trace: int, of_span: int, flags: int
    ) -> None:
        recorder = PrometheusRecorder(CollectorRegistry())
        context = trace.SpanContext(of_trace, of_span, False, trace.TraceFlags(flags))
        with trace.use_span(trace.NonRecordingSpan(context)):
            recorder.histogram(WAIT).labels("a").observe(value)
        (shown,) = exemplars(recorder, WAIT.name)
        assert (int(shown.trace_id, 16), int(shown.span_id, 16)) == (of_trace, of_span)
        assert (len(shown.trace_id), len(shown.span_id)) == (32, 16)
        assert shown.value == value
        assert shown.bound == ("1.0" if value <= 1 else "10.0" if value <= 10 else "+Inf")


class TestTheSpanIsTheOneWhereACallBegins:
    def test_a_stream_that_is_read_outside_has_the_span_that_it_began_in(
        self, recorder: PrometheusRecorder
    ) -> None:
        config: Any = {"callbacks": [MetricsCallbackHandler(recorder)]}
        with TRACER.start_as_current_span("request") as span:
            stream = StreamingChat().stream("hello", config)
            next(stream)
        with TRACER.start_as_current_span("somebody else's"):
            list(stream)
        assert trace_ids(recorder, "llm_latency_seconds") == {trace_id(span)}
        assert trace_ids(recorder, "llm_time_to_first_token_seconds") == {trace_id(span)}

    def test_a_span_inside_of_the_call_is_not_the_call_s(
        self, recorder: PrometheusRecorder
    ) -> None:
        # as the instrumentation of a provider's SDK opens one
        with (
            TRACER.start_as_current_span("request") as span,
            track_call("openai", "gpt-4o", recorder=recorder),
            TRACER.start_as_current_span("chat gpt-4o"),
        ):
            pass
        (shown,) = exemplars(recorder, "llm_latency_seconds")
        assert shown.span_id == trace.format_span_id(span.get_span_context().span_id)

    @pytest.mark.parametrize("began_in_a_span", [True, False])
    def test_an_abandoned_call_does_not_get_the_span_of_who_finds_it(
        self, recorder: PrometheusRecorder, began_in_a_span: bool
    ) -> None:
        lost: list[Any] = [track_call("openai", "gpt-4o", agent_name="lost", recorder=recorder)]
        tracer = TRACER if began_in_a_span else UNSAMPLED
        with tracer.start_as_current_span("request") as span:
            lost[0].__enter__()
        lost.clear()
        gc.collect()
        with TRACER.start_as_current_span("somebody else's"):
            call(recorder)
        assert recorder.value("llm_calls_total", agent_name="lost", status="cancelled") == 1
        own = {trace_id(span)} if began_in_a_span else set()
        assert trace_ids(recorder, "llm_latency_seconds", agent_name="lost") == own

    def test_threads_do_not_mix_up_their_spans(self, recorder: PrometheusRecorder) -> None:
        seen: dict[str, str] = {}

        def work(agent_name: str) -> None:
            for _ in range(200):
                with TRACER.start_as_current_span("request") as span:
                    call(recorder, agent_name)
            seen[agent_name] = trace_id(span)

        threads = [threading.Thread(target=work, args=(f"agent-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for agent_name, last in seen.items():
            assert last in trace_ids(recorder, "llm_latency_seconds", agent_name=agent_name)
            assert {last} == trace_ids(recorder, "llm_call_cost_usd", agent_name=agent_name)

    async def test_tasks_do_not_mix_up_their_spans(
        self, recorder: PrometheusRecorder, anyio_backend: str
    ) -> None:
        seen: dict[str, str] = {}

        async def work(agent_name: str) -> None:
            with TRACER.start_as_current_span("request") as span:
                async with track_call("openai", "gpt-4o", agent_name=agent_name, recorder=recorder):
                    await anyio.sleep(0.001)
            seen[agent_name] = trace_id(span)

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(work, f"agent-{number}")
        assert len(seen) == 5
        for agent_name, own in seen.items():
            assert trace_ids(recorder, "llm_latency_seconds", agent_name=agent_name) == {own}


class ToolChat(Chat):
    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


class Planner(InstrumentedAgent):
    agent_name = "planner"

    def __init__(self, recorder: Recorder, model: BaseChatModel) -> None:
        self.recorder, self.model = recorder, model

    def run(self) -> None:
        self.model.invoke("hello")

    async def arun(self) -> None:
        await self.model.ainvoke("hello")


class TestAnAgentInASpan:
    def test_an_agent_in_a_span_has_its_run_and_its_calls_in_that_trace(
        self, recorder: PrometheusRecorder
    ) -> None:
        with TRACER.start_as_current_span("request") as span:
            Planner(recorder, Chat()).run()
        for name in ("agent_run_duration_seconds", "agent_run_cost_usd", "llm_latency_seconds"):
            assert trace_ids(recorder, name) == {trace_id(span)}, name

    @pytest.mark.asyncio_alone
    async def test_an_asynchronous_agent_in_a_span_has_its_run_and_its_calls_in_that_trace(
        self, recorder: PrometheusRecorder, anyio_backend: str
    ) -> None:
        with TRACER.start_as_current_span("request") as span:
            await Planner(recorder, Chat()).arun()
        for name in ("agent_run_duration_seconds", "llm_latency_seconds"):
            assert trace_ids(recorder, name) == {trace_id(span)}, name

    def test_a_graph_and_its_tools_in_a_span_are_in_that_trace(
        self, recorder: PrometheusRecorder
    ) -> None:
        @tool
        def look_up(name: str) -> str:
            """Look somebody up."""
            return "found"

        asks = answer("")
        asks.tool_calls = [ToolCall(name="look_up", args={"name": "a"}, id="1", type="tool_call")]
        graph: Any = create_agent(ToolChat(answers=[asks, answer()]), [look_up], name="clerk")
        with TRACER.start_as_current_span("request") as span:
            graph.invoke(
                {"messages": [HumanMessage("hello")]},
                {"callbacks": [MetricsCallbackHandler(recorder)]},
            )
        for name in (
            "agent_run_duration_seconds",
            "tool_execution_duration_seconds",
            "llm_latency_seconds",
        ):
            assert trace_ids(recorder, name, agent_name="clerk") == {trace_id(span)}, name


class TestLayers:
    def test_layers_and_fanouts_pass_the_span_on(self, recorder: PrometheusRecorder) -> None:
        memory = MemoryRecorder()
        around = Namespace(FanoutRecorder([memory, recorder]), "shop")
        with TRACER.start_as_current_span("request") as span:
            call(around)
        assert trace_ids(recorder, "shop_llm_latency_seconds") == {trace_id(span)}
        assert memory.histogram("shop_llm_latency_seconds").count == 1

    def test_a_recorder_without_exemplars_does_not_ask_for_spans(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        module: Any = ModuleType(OPENTELEMETRY)
        module.get_current_span = lambda: asked.append("span")
        monkeypatch.setitem(sys.modules, OPENTELEMETRY, module)
        with TRACER.start_as_current_span("request"):
            call(MemoryRecorder())
            call(PrometheusRecorder(CollectorRegistry(), exemplars=False))
            assert asked == []
            call(PrometheusRecorder(CollectorRegistry()))
            assert asked  # else this test would prove nothing


class TestTheSetting:
    @pytest.fixture(autouse=True)
    def own_registry(self, monkeypatch: pytest.MonkeyPatch, agent_metrics: MemoryRecorder) -> None:
        """One of this test's own in the place of the default one, which others are using."""
        monkeypatch.setattr(PrometheusRecorder.__init__, "__defaults__", (CollectorRegistry(),))

    @pytest.mark.parametrize(("value", "kept"), [("true", True), ("off", False), (None, True)])
    def test_exemplars_are_kept_unless_the_variable_says_not_to(
        self, monkeypatch: pytest.MonkeyPatch, value: str | None, kept: bool
    ) -> None:
        if value is not None:
            monkeypatch.setenv("AGENTMETRICS_EXEMPLARS", value)
        recorder = agentmetrics.configure(backend="prometheus")
        assert isinstance(recorder, PrometheusRecorder)
        with TRACER.start_as_current_span("request"):
            call(recorder)
        assert bool(exemplars(recorder, "llm_latency_seconds")) is kept

    def test_a_registry_in_use_cannot_change_its_mind(self) -> None:
        agentmetrics.configure(backend="prometheus", exemplars=False)
        agentmetrics.configure(backend="prometheus")  # which says nothing of them
        with pytest.raises(ConfigurationError) as raised:
            agentmetrics.configure(backend="prometheus", exemplars=True)
        assert "already in use with exemplars=False, not True" in str(raised.value)
        assert "configure it before its first use" in str(raised.value)

    def test_a_value_that_is_neither_is_one_sentence(self) -> None:
        with pytest.raises(ConfigurationError, match="AGENTMETRICS_EXEMPLARS='sometimes'"):
            agentmetrics.configure(backend="prometheus", exemplars="sometimes")


ONE_CALL = f"""
from opentelemetry.sdk.trace import TracerProvider
import agentmetrics
recorder = agentmetrics.configure(backend="prometheus")
agentmetrics.configure(backend="prometheus")
with TracerProvider().get_tracer("t").start_as_current_span("request"):
    with agentmetrics.track_call("openai", "gpt-4o") as call:
        call.record_usage(1000, 100)
body = recorder.exposition({OPENMETRICS!r}).body.decode()
print('llm_latency_seconds_bucket' in body, ' # {{' in body)
"""


class TestSeveralProcesses:
    def test_several_processes_have_no_exemplars(self, tmp_path: Path) -> None:
        done = run(ONE_CALL, {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
        assert (done.stdout, done.stderr) == ("True False\n", "")

    def test_several_processes_that_are_asked_for_exemplars_say_so_once(
        self, tmp_path: Path
    ) -> None:
        done = run(
            ONE_CALL,
            {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "AGENTMETRICS_EXEMPLARS": "true"},
        )
        assert done.stdout == "True False\n"
        assert done.stderr == (
            "no exemplars are kept: prometheus-client's files have no room for them, "
            "and PROMETHEUS_MULTIPROC_DIR is set\n"
        )

    def test_one_process_has_them(self) -> None:
        # else the two tests above would prove nothing
        assert run(ONE_CALL, {}).stdout == "True True\n"


def run(program: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
    )
    assert done.returncode == 0, done.stderr
    return done
