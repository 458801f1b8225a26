"""The one pipeline of a recorder: its options reach every recorder, whoever puts it together."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import agentmetrics
from agentmetrics import (
    CardinalityLimit,
    CommonLabels,
    ConfigurationError,
    FanoutRecorder,
    MemoryRecorder,
    Metric,
    MetricsCallbackHandler,
    Namespace,
    NoopRecorder,
    Recorder,
    Usage,
    configure,
    labels,
    track_call,
    track_run,
    track_tool,
)
from agentmetrics.calls.facts import AgentRun, RetrieverQuery, Scope, ToolExecution
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import Options, Pipeline, pipeline_of
from agentmetrics.plugin import Instruments
from agentmetrics.pricing import Prices

TENANT = Options(extra_labels=("tenant",), max_series=7)


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    with replaced(NoopRecorder()):
        yield


def call_of(tenant: str, recorder: Recorder | None) -> None:
    with agentmetrics.labels(tenant=tenant), track_call("openai", "gpt-4o-mini", recorder=recorder):
        pass


class Own(MemoryRecorder):
    """A recorder of the user's own."""


PUT_TOGETHER: dict[str, Any] = {
    "memory": lambda: MemoryRecorder(),
    "a class of the user's": lambda: Own(),
    "fanout of one": lambda: FanoutRecorder([MemoryRecorder()]),
    "fanout of two": lambda: FanoutRecorder([NoopRecorder(), MemoryRecorder()]),
    "namespace": lambda: Namespace(MemoryRecorder(), "shop"),
    "common labels": lambda: CommonLabels(MemoryRecorder(), {"env": "prod"}),
    "limit": lambda: CardinalityLimit(MemoryRecorder(), 7),
    "layers on layers": lambda: Namespace(
        FanoutRecorder([CommonLabels(MemoryRecorder(), {"env": "prod"})]), "shop"
    ),
}


@pytest.mark.parametrize("make", PUT_TOGETHER.values(), ids=PUT_TOGETHER.keys())
class TestTheEnvironmentsOptions:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AGENTMETRICS_EXTRA_LABELS", "tenant")
        monkeypatch.setenv("AGENTMETRICS_MAX_SERIES", "7")
        monkeypatch.setenv("AGENTMETRICS_LATENCY_BUCKETS", "1,2")

    def check(self, recorder: Recorder) -> None:
        assert recorder.value("llm_calls_total", tenant="acme") == 1
        assert recorder.histogram("llm_latency_seconds").bounds == (1.0, 2.0)
        assert pipeline_of(recorder).options.max_series == 7

    def test_the_environments_options_reach_a_recorder_given_to_configure(self, make: Any) -> None:
        recorder = configure(make())
        call_of("acme", None)
        self.check(recorder)

    def test_the_environments_options_reach_a_recorder_given_to_a_source(self, make: Any) -> None:
        recorder = make()
        call_of("acme", recorder)
        self.check(recorder)

    def test_the_environments_options_reach_a_recorder_given_to_a_handler(self, make: Any) -> None:
        recorder = make()
        MetricsCallbackHandler(recorder)
        call_of("acme", recorder)
        self.check(recorder)


class TestOptions:
    def test_options_of_configure_reach_recorders_given_to_sources_later(self) -> None:
        configure(MemoryRecorder(), extra_labels="tenant")
        recorder = MemoryRecorder()
        call_of("acme", recorder)
        assert recorder.value("llm_calls_total", tenant="acme") == 1

    def test_what_is_put_around_a_recorder_has_its_options(self) -> None:
        memory = MemoryRecorder()
        pipeline_of(memory, TENANT)
        fanout = FanoutRecorder([memory])
        call_of("acme", fanout)
        assert pipeline_of(fanout).options == TENANT
        assert fanout.value("llm_calls_total", tenant="acme") == 1
        assert memory.value("llm_calls_total", tenant="acme") == 1

    def test_series_are_limited_however_the_recorder_is_made(self) -> None:
        recorder = FanoutRecorder([MemoryRecorder()])
        pipeline_of(recorder, Options(max_series=2))
        for number in range(4):
            with track_call("openai", f"model-{number}", recorder=recorder):
                pass
        assert recorder.value("llm_calls_total", model="other") == 2
        assert recorder.value("agentmetrics_series_dropped_total", metric="llm_calls_total") == 2

    def test_calls_past_the_limit_of_series_share_theirs_and_cost_what_they_cost(self) -> None:
        recorder = MemoryRecorder()
        pipeline = pipeline_of(recorder, Options(max_series=4, extra_labels=("tenant",)))
        models = ("gpt-4o", "gpt-4o-mini", "nobody-s")
        for number in range(60):
            model = models[number % 3]
            with (
                labels(tenant=f"tenant-{number}"),
                track_call("openai", model, agent_name=f"agent-{number % 2}", recorder=recorder)
                as call,
            ):  # fmt: skip
                call.record_usage(1000, 10)
        assert len(set(map(id, pipeline.llm.expected.values()))) == 4 + 2 * 3
        assert recorder.value("llm_calls_total", agent_name="other", tenant="other") == 56
        assert recorder.value("llm_tokens_total", token_type="input") == 60_000
        listed = {model: Prices().cost_usd("openai", model, Usage(1000, 10)) for model in models}
        assert recorder.value("llm_cost_usd_total") == pytest.approx(
            20 * sum(cost or 0.0 for cost in listed.values())
        )
        assert recorder.value("llm_unpriced_calls_total", model="nobody-s") == 20
        for agent in ("agent-0", "agent-1"):  # which has no more labels than there is room for
            of_agent = {"agent_name": agent, "provider": "openai"}
            assert recorder.histogram("llm_api_latency_seconds", **of_agent).count == 30
        for metric in ("llm_calls_total", "llm_tokens_total", "llm_latency_seconds"):
            dropped = recorder.value("agentmetrics_series_dropped_total", metric=metric)
            assert dropped >= 56

    def test_tools_and_runs_past_the_limit_of_series_share_theirs(self) -> None:
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(max_series=2))
        for number in range(10):
            run = track_run(f"agent-{number}", recorder=recorder)
            with run, track_tool(f"tool-{number}", recorder=recorder):
                pass
        assert recorder.value("agent_runs_total", agent_name="other") == 8
        assert recorder.histogram("agent_run_duration_seconds", agent_name="other").count == 8
        assert recorder.value("tool_executions_total", tool_name="other") == 8
        dropped = recorder.value("agentmetrics_series_dropped_total", metric="agent_runs_total")
        assert dropped == 8

    def test_options_that_change_no_metric_can_be_changed_later(self) -> None:
        recorder, prices = MemoryRecorder(), Prices()
        before = pipeline_of(recorder)
        later = pipeline_of(recorder, Options(max_series=3, call_ttl_seconds=5.0, prices=prices))
        assert later is before
        assert later.table.ttl_seconds == 5.0
        assert later.prices is prices
        assert pipeline_of(recorder, Options(max_series=3)).options.prices is prices

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (TENANT, r"extra_labels=\(\), not \('tenant',\)"),
            (Options(latency_buckets=(1.0,)), r"latency_buckets=None, not \(1.0,\)"),
            (Options(buckets={"agent_run_tokens": (1.0,)}), r"buckets={}, not {'agent_run_tokens'"),
            (Options(mb_aliases=False), "mb_aliases=True, not False"),
            (Options(call_tokens=True), "call_tokens=False, not True"),
            (Options(metrics_off=("http_*",)), r"metrics_off=\(\), not \('http_\*',\)"),
            (Options(extra_labels_for=("cost",)), r"extra_labels_for=\(\), not \('cost',\)"),
        ],
    )
    def test_options_that_would_change_metrics_in_use_are_refused(
        self, options: Any, said: str
    ) -> None:
        recorder = MemoryRecorder()
        pipeline_of(recorder)
        with pytest.raises(ConfigurationError, match=f"is already in use with {said}"):
            pipeline_of(recorder, options)

    def test_options_that_say_what_a_recorder_is_do_not_go_with_a_recorder(self) -> None:
        with pytest.raises(ConfigurationError, match="a recorder or common_labels, namespace"):
            configure(MemoryRecorder(), namespace="shop", common_labels={"env": "prod"})


class TestAPipeline:
    def test_a_recorder_has_one_pipeline(self) -> None:
        recorder = MemoryRecorder()
        pipeline = Pipeline(recorder, TENANT)
        assert pipeline_of(recorder) is pipeline
        with pytest.raises(ConfigurationError, match="this MemoryRecorder already has a pipeline"):
            Pipeline(recorder)

    def test_a_pipeline_goes_with_its_recorder(self) -> None:
        recorder = MemoryRecorder()
        gone = weakref.ref(pipeline_of(recorder))
        call_of("acme", recorder)
        del recorder
        gc.collect()
        assert gone() is None

    def test_a_pipeline_has_one_meter_of_each_kind_of_a_plugin(self) -> None:
        rows = Metric("rows_total", "counter", "Rows.", ("table",), extended=True)

        class Rows:
            def __init__(self, make: Instruments) -> None:
                self.count = make.counter(rows)

        recorder = MemoryRecorder()
        pipeline = pipeline_of(recorder, TENANT)
        pipeline.meter(Rows).count.labels(table="users", tenant="acme").inc()
        pipeline.meter(Rows).count.labels("users", "acme").inc()
        assert recorder.value("rows_total", tenant="acme") == 2

    def test_a_gate_is_asked_once_however_often_it_is_given(self) -> None:
        asked: list[object] = []

        def gate(call: object, ceiling: object) -> Any:
            asked.append(call)
            return lambda ended: None

        recorder = MemoryRecorder()
        for _ in range(2):
            pipeline_of(recorder).guard(gate)
        call_of("acme", recorder)
        assert len(asked) == 1

    def test_a_hearer_hears_a_call_once_however_often_it_subscribes(self) -> None:
        heard: list[object] = []
        recorder = MemoryRecorder()
        for _ in range(2):
            pipeline_of(recorder).subscribe(heard.append)
        call_of("acme", recorder)
        assert len(heard) == 1

    @pytest.mark.parametrize(
        ("kind", "fact"),
        [
            ("agent", AgentRun("planner", 0.0)),
            ("tool", ToolExecution("planner", "search", 0.0)),
            ("retriever", RetrieverQuery("planner", "docs", 0.0)),
        ],
    )
    def test_a_hearer_of_a_kind_of_fact_hears_those_that_end_and_no_others(
        self, kind: str, fact: Any
    ) -> None:
        heard: list[object] = []
        pipeline = pipeline_of(MemoryRecorder())
        for _ in range(2):
            pipeline.subscribe_to(kind, heard.append)
        pipeline.finish(fact)
        pipeline.finish(Scope("elsewhere", 0.0))
        call_of("acme", pipeline.recorder)
        assert heard == [fact]

    def test_a_hearer_of_agent_runs_that_fails_is_counted_and_the_run_is_recorded(self) -> None:
        def failing(run: object) -> None:
            raise KeyError

        recorder = MemoryRecorder()
        pipeline_of(recorder).subscribe_to("agent", failing)
        pipeline_of(recorder).finish(AgentRun("planner", 0.0))
        assert recorder.value("agent_runs_total") == 1
        assert recorder.value("agentmetrics_handler_errors_total", event="record") == 1


class TestLabels:
    COUNTER = Metric("jobs_total", "counter", "Jobs.", ("queue", "status"))

    def test_label_values_are_given_in_order_or_by_name(self) -> None:
        recorder = MemoryRecorder()
        jobs = recorder.counter(self.COUNTER)
        jobs.labels("a", "ok").inc()
        jobs.labels(status="ok", queue="a").inc()
        assert recorder.value("jobs_total", queue="a", status="ok") == 2

    @pytest.mark.parametrize(
        ("values", "named"),
        [(("a",), {"status": "ok"}), ((), {"queue": "a"}), ((), {"queue": "a", "statuses": "ok"})],
    )
    def test_labels_that_are_missing_or_unknown_are_named(self, values: Any, named: Any) -> None:
        with pytest.raises(ValueError, match=r"jobs_total has the labels \('queue', 'status'\)"):
            MemoryRecorder().counter(self.COUNTER).labels(*values, **named)
