"""The GenAI conventions, chosen by OTEL_SEMCONV_STABILITY_OPT_IN."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import pytest
from opentelemetry.sdk.trace import TracerProvider

import agentmetrics
from agentmetrics import CommonLabels, MemoryRecorder, Namespace, Recorder, Usage
from agentmetrics.calls.facts import FOUND
from agentmetrics.catalog import CATALOG
from agentmetrics.plugin import (
    AgentRun,
    LLMCall,
    Options,
    Pipeline,
    ToolExecution,
    pipeline_of,
)
from agentmetrics_otel import OTelRecorder
from agentmetrics_otel.conventions import CHOICES, LATEST, PROVIDERS, SEMCONV_1_41
from tests.services.otlp import OTLPReceiver

OLD, NEW = "gen_ai_1.41", "gen_ai_latest_experimental"
INFERENCE = "gen_ai.client.inference"


@pytest.fixture
def opt_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda value: monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", value)


def a_call(
    pipeline: Pipeline,
    usage: Usage | None = None,
    error: BaseException | None = None,
    *,
    model: str = "gpt-4o",
    provider: str = "openai",
    seconds: float = 0.3,
    extra: tuple[str, ...] = (),
) -> None:
    """A call that took about so many seconds, as a source reports it."""
    call = LLMCall("planner", provider, model, perf_counter() - seconds, extra=extra)
    pipeline.expect(call)
    call.usage = usage
    call.serve("" if error else f"{model}-2024-08-06")
    pipeline.finish(call, error)


def a_run_with_a_tool(pipeline: Pipeline, error: BaseException | None = None) -> None:
    now = perf_counter()
    run = AgentRun("planner", now - 2)
    pipeline.expect(run)
    run.llm_calls, run.tool_calls = 3, 1
    tool = ToolExecution("planner", "search", now - 0.5)
    pipeline.expect(tool)
    pipeline.finish(tool, error)
    pipeline.finish(run, error)


def delivered(recorder: Recorder, record: Callable[[Pipeline], None]) -> None:
    record(pipeline_of(recorder))
    recorder.close()


USAGE = Usage(
    100, 40, cache_read_tokens=60, cache_creation_tokens=10, reasoning_tokens=25,
    audio_input_tokens=30, audio_output_tokens=4,
)  # fmt: skip
PLAIN = Usage(100, 40)
"""With a known price."""


def test_without_the_variable_there_are_the_catalogues_names_alone(otlp: OTLPReceiver) -> None:
    delivered(OTelRecorder(), lambda pipeline: a_call(pipeline, USAGE))
    assert otlp.total("llm_calls_total") == 1
    assert not [name for name in otlp.names() if name.startswith("gen_ai")]


def test_opting_in_for_other_things_changes_nothing(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in("http/dup, database")
    delivered(OTelRecorder(), lambda pipeline: a_call(pipeline, USAGE))
    assert otlp.total("llm_calls_total") == 1
    assert not [name for name in otlp.names() if name.startswith("gen_ai")]


def test_the_conventions_of_before_the_move(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in(f"http,{OLD}")

    def record(pipeline: Pipeline) -> None:
        a_call(pipeline, USAGE)
        a_call(pipeline, None, TimeoutError())

    delivered(OTelRecorder(), record)
    own = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.agent.name": "planner",
    }
    served = {**own, "gen_ai.response.model": "gpt-4o-2024-08-06"}
    durations = otlp.named("gen_ai.client.operation.duration")
    by_error = {found.get("error.type"): found for found, _ in durations}
    assert by_error == {None: served, "timeout": {**own, "error.type": "timeout"}}
    for _, stream in durations:
        assert stream.unit == "s"
        assert stream.bounds == pytest.approx([0.01 * 2**n for n in range(14)])
        assert stream.bounds[-1] == 81.92
        assert 0.3 <= stream.value < 5
    tokens = {
        found.pop("gen_ai.token.type"): (found, stream)
        for found, stream in otlp.named("gen_ai.client.token.usage")
    }
    assert tokens["input"][0] == tokens["output"][0] == served
    assert (tokens["input"][1].value, tokens["output"][1].value) == (100, 40)
    assert tokens["input"][1].bounds[:3] == (1, 4, 16)
    assert tokens["input"][1].bounds[-1] == 67_108_864
    assert tokens["input"][1].unit == "{token}"


def test_the_conventions_of_now(otlp: OTLPReceiver, opt_in: Callable[[str], None]) -> None:
    opt_in(NEW)

    def record(pipeline: Pipeline) -> None:
        a_call(pipeline, USAGE)
        a_call(pipeline, None, TimeoutError())
        a_run_with_a_tool(pipeline)
        a_run_with_a_tool(pipeline, ValueError())

    delivered(OTelRecorder(), record)
    assert otlp.count(f"{INFERENCE}.duration") == 2
    assert otlp.count(f"{INFERENCE}.duration", error__type="timeout") == 1
    usage = f"{INFERENCE}.usage"
    by_modality = {
        found["gen_ai.token.modality"]: stream.value
        for found, stream in otlp.named(f"{usage}.input_tokens")
        if "gen_ai.response.model" in found
    }
    assert by_modality == {"unknown": 70, "audio": 30}
    ((found, failed),) = [
        (found, stream)
        for found, stream in otlp.named(f"{usage}.input_tokens")
        if "gen_ai.response.model" not in found
    ]
    assert (found["gen_ai.token.modality"], failed.value) == ("unknown", 0)
    assert otlp.total(f"{usage}.output_tokens") == 40
    assert otlp.total(f"{usage}.cache_read.input_tokens") == 60
    assert otlp.total(f"{usage}.cache_write.input_tokens") == 10
    assert otlp.total(f"{usage}.reasoning.output_tokens") == 25
    assert otlp.count(f"{INFERENCE}.operation.input_tokens") == 1
    assert otlp.total(f"{INFERENCE}.operation.input_tokens") == 100
    assert otlp.total(f"{INFERENCE}.operation.output_tokens") == 40
    runs = otlp.named("gen_ai.invoke_agent.duration")
    assert {found.get("error.type") for found, _ in runs} == {None, "_OTHER"}
    assert runs[0][1].bounds[-1] == pytest.approx(409.6)
    assert otlp.total("gen_ai.invoke_agent.inference_calls", gen_ai__agent__name="planner") == 6
    assert otlp.total("gen_ai.invoke_agent.tool_calls") == 2
    assert otlp.count("gen_ai.execute_tool.duration", gen_ai__tool__name="search") == 2
    assert otlp.count("gen_ai.execute_tool.duration", error__type="_OTHER") == 1


def test_a_streamed_call_has_the_time_to_its_first_chunk_and_no_other_has(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in(NEW)

    def record(pipeline: Pipeline) -> None:
        a_call(pipeline, USAGE)
        streamed = LLMCall("planner", "openai", "gpt-4o", perf_counter() - 1)
        pipeline.expect(streamed)
        streamed.first_token = streamed.started + 0.25
        pipeline.finish(streamed)

    delivered(OTelRecorder(), record)
    assert otlp.count(f"{INFERENCE}.time_to_first_chunk") == 1
    assert otlp.total(f"{INFERENCE}.time_to_first_chunk") == pytest.approx(0.25)


@pytest.mark.parametrize("value", CHOICES)
def test_rows_that_a_convention_says_are_left_out_and_the_others_stay(
    otlp: OTLPReceiver, opt_in: Callable[[str], None], value: str
) -> None:
    opt_in(value)
    recorder = OTelRecorder()
    delivered(recorder, lambda pipeline: a_call(pipeline, PLAIN))
    for row in ("llm_calls_total", "llm_errors_total", "llm_tokens_total", "llm_latency_seconds"):
        assert row not in otlp.names()
        assert any(sample.name.startswith(row) for sample in recorder.samples())
    assert otlp.total("llm_cost_usd_total") > 0
    assert otlp.count("llm_api_latency_seconds") == 1


@pytest.mark.parametrize("value", [f"{OLD}/dup", f"{NEW}/dup"])
def test_dup_keeps_both(otlp: OTLPReceiver, opt_in: Callable[[str], None], value: str) -> None:
    opt_in(value)
    delivered(OTelRecorder(), lambda pipeline: a_call(pipeline, USAGE))
    assert otlp.total("llm_calls_total", status="success") == 1
    assert otlp.count("llm_latency_seconds") == 1
    assert [name for name in otlp.names() if name.startswith("gen_ai.")]


def test_both_versions_can_be_had(otlp: OTLPReceiver, opt_in: Callable[[str], None]) -> None:
    opt_in(f"{OLD},{NEW}")
    delivered(OTelRecorder(), lambda pipeline: a_call(pipeline, USAGE))
    assert otlp.count("gen_ai.client.operation.duration") == 1
    assert otlp.count(f"{INFERENCE}.duration") == 1


def test_under_a_namespace_and_with_common_and_extra_labels(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in(NEW)
    own = OTelRecorder(namespace="shop", attributes={"env": "prod"})
    recorder = Namespace(CommonLabels(own, {"env": "prod"}), "shop")
    pipeline = pipeline_of(recorder, Options(extra_labels=("tenant",)))
    a_call(pipeline, PLAIN, extra=("acme",))
    recorder.close()
    assert otlp.count(f"{INFERENCE}.duration", env="prod", tenant="acme") == 1
    assert "shop_llm_calls_total" not in otlp.names()
    assert otlp.total("shop_llm_cost_usd_total", env="prod", tenant="acme") > 0


def test_past_the_limit_of_series_attributes_are_other(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in(NEW)
    recorder = OTelRecorder()
    pipeline = pipeline_of(recorder, Options(max_series=2))
    for number in range(5):
        a_call(pipeline, USAGE, model=f"model-{number}")
    recorder.close()
    models = {
        found["gen_ai.request.model"]: sum(stream.counts)
        for found, stream in otlp.named(f"{INFERENCE}.duration")
    }
    assert models == {"model-0": 1, "model-1": 1, "other": 3}


def test_no_call_makes_streams_of_its_own(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in(f"{NEW}/dup")
    recorder = OTelRecorder()
    pipeline = pipeline_of(recorder)
    a_call(pipeline, USAGE)
    recorder.flush()
    streams = len(otlp.streams)
    for _ in range(20):
        a_call(pipeline, USAGE)
    recorder.close()
    assert len(otlp.streams) == streams


def test_exemplars_are_of_the_span_of_the_call(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in(NEW)
    recorder = OTelRecorder()
    with TracerProvider().get_tracer("app").start_as_current_span("request") as span:
        a_call(pipeline_of(recorder), USAGE)
    recorder.close()
    ((_, stream),) = otlp.named(f"{INFERENCE}.duration")
    ((_, trace_id, _),) = stream.exemplars
    assert trace_id == f"{span.get_span_context().trace_id:032x}"


def test_a_cached_answer_is_no_operation_of_a_provider(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in(NEW)
    recorder = OTelRecorder()
    pipeline = pipeline_of(recorder)
    call = LLMCall("planner", "openai", "gpt-4o", perf_counter())
    pipeline.expect(call)
    call.lookup = FOUND
    pipeline.finish(call)
    recorder.close()
    assert otlp.total("llm_cache_hits_total") == 1
    assert f"{INFERENCE}.duration" not in otlp.names()


def test_a_fanout_has_them_on_opentelemetry_alone(
    otlp: OTLPReceiver, opt_in: Callable[[str], None]
) -> None:
    opt_in(NEW)
    memory = MemoryRecorder()
    recorder = agentmetrics.FanoutRecorder([memory, OTelRecorder()])
    a_call(pipeline_of(recorder), USAGE)
    recorder.close()
    assert otlp.count(f"{INFERENCE}.duration") == 1
    assert memory.value("llm_calls_total") == 1


# The tables


def test_every_row_that_is_left_out_is_of_the_catalogue() -> None:
    rows = {metric.name for metric in CATALOG}
    for convention in (SEMCONV_1_41, LATEST):
        for reported in convention.instruments:
            assert rows >= set(reported.replaces), reported.name


def test_providers_are_those_that_the_conventions_name() -> None:
    # https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/
    named = {
        "anthropic", "aws.bedrock", "azure.ai.inference", "azure.ai.openai", "cohere", "deepseek",
        "gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai", "groq", "ibm.watsonx.ai", "mistral_ai",
        "moonshot_ai", "openai", "perplexity", "x_ai",
    }  # fmt: skip
    assert named >= set(PROVIDERS.values())
    assert not named & set(PROVIDERS)


@pytest.mark.parametrize(
    ("provider", "named"),
    [("amazon_bedrock", "aws.bedrock"), ("google_genai", "gcp.gemini"), ("my-llm", "my-llm")],
)
def test_a_provider_has_the_name_of_the_conventions(
    otlp: OTLPReceiver, opt_in: Callable[[str], None], provider: str, named: str
) -> None:
    opt_in(NEW)
    delivered(OTelRecorder(), lambda pipeline: a_call(pipeline, USAGE, provider=provider))
    ((found, _),) = otlp.named(f"{INFERENCE}.duration")
    assert found["gen_ai.provider.name"] == named
