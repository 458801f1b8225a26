"""langchain-openai and langchain-anthropic over HTTP, call by call, beside the wire's count."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from agentmetrics import MemoryRecorder, MetricsCallbackHandler
from tests.integration.apps import traffic
from tests.integration.apps.graphs import followed
from tests.services.wire import Answer, Refusal, Wire

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.asyncio_alone,
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    # langchain-openai's own, about fields of the openai package that are None
    pytest.mark.filterwarnings("ignore:Unexpected type for token usage:UserWarning"),
]

Make = Callable[..., BaseChatModel]
AGENT = "tester"
MESSAGE = HumanMessage("x")
TOO_LONG = Refusal(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")
MODELS = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5"}


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(wire: Wire, provider: str, recorder: MemoryRecorder) -> Make:
    """``make(**options)`` is a chat model of the provider with the handler on it."""
    return lambda **options: _model(wire, provider, recorder, **options)


def _model(wire: Wire, provider: str, recorder: MemoryRecorder, **options: Any) -> BaseChatModel:
    maker = traffic.openai if provider == "openai" else traffic.anthropic
    handler = MetricsCallbackHandler(recorder, agent_name=AGENT)
    return maker(wire, AGENT, MODELS[provider], callbacks=[handler], **options)


def equals_the_wire(recorder: MemoryRecorder, wire: Wire) -> None:
    """Everything that can be compared with what the wire counted."""
    for by_status, calls in traffic.calls_by_status(wire).items():
        names = dict(zip(("agent_name", "provider", "status"), by_status, strict=True))
        assert recorder.value("llm_calls_total", **names) == calls, names
    assert recorder.value("llm_calls_total") == len(wire.calls)
    assert series(recorder, "llm_tokens_total") == +traffic.tokens(wire)
    assert series(recorder, "llm_token_details_total") == traffic.token_details(wire)
    assert series(recorder, "llm_cost_usd_total") == pytest.approx(traffic.costs(wire), rel=1e-9)
    assert recorder.value("agentmetrics_handler_errors_total") == 0
    assert recorder.value("llm_active_calls") == 0
    assert recorder.value("agentmetrics_open_runs") == 0


def series(recorder: MemoryRecorder, name: str) -> dict[tuple[str, ...], float]:
    """The values that are not 0."""
    found = (s for s in recorder.samples() if s.name == name and s.value)
    return {tuple(s.labels.values()): s.value for s in found}


async def _each(items: Any) -> None:
    async for _ in items:
        pass


def _iterate(items: Iterator[Any]) -> None:
    for _ in items:
        pass


async def _events_v3(model: BaseChatModel) -> None:
    stream: Any = model.astream_events("x", version="v3")
    if inspect.isawaitable(stream):
        stream = await stream
    try:
        assert await stream.output
    finally:
        for _ in range(5):  # the end event comes a few steps of the loop after the output
            await asyncio.sleep(0)


def _sync_events_v3(model: BaseChatModel) -> None:
    assert model.stream_events("x", version="v3").output


WAYS: dict[str, tuple[int, bool, Callable[[Any], Any]]] = {
    # calls, whether tokens are streamed, and how
    "invoke": (1, False, lambda m: m.invoke("x")),
    "stream": (1, True, lambda m: _iterate(m.stream("x"))),
    "batch": (3, False, lambda m: m.batch(["x", "y", "z"])),
    "generate": (2, False, lambda m: m.generate([[MESSAGE], [MESSAGE]])),
    "stream_events v3": (1, True, _sync_events_v3),
    "ainvoke": (1, False, lambda m: m.ainvoke("x")),
    "astream": (1, True, lambda m: _each(m.astream("x"))),
    "abatch": (3, False, lambda m: m.abatch(["x", "y", "z"])),
    "astream_events v2": (1, True, lambda m: _each(m.astream_events("x", version="v2"))),
    "astream_events v3": (1, True, _events_v3),
}


class TestEveryWayToCall:
    @pytest.mark.parametrize("way", WAYS)
    async def test_every_way_to_call_is_counted_as_the_wire_counts_it(
        self, way: str, wire: Wire, provider: str, make: Make, recorder: MemoryRecorder
    ) -> None:
        calls, _, call = WAYS[way]
        wire.script(MODELS[provider], Answer(cache_read=1_000, output=500, reasoning=50))
        await _done(call, make())
        assert wire.count(ended="success") == calls
        equals_the_wire(recorder, wire)

    @pytest.mark.parametrize("way", WAYS)
    async def test_every_way_to_call_has_a_first_token_when_it_streams(
        self, way: str, wire: Wire, make: Make, recorder: MemoryRecorder
    ) -> None:
        _, streams, call = WAYS[way]
        await _done(call, make())
        first_tokens = recorder.histogram("llm_time_to_first_token_seconds").count
        assert first_tokens == (1 if streams else 0)

    async def test_every_way_to_call_is_counted_once_where_the_handler_is_attached_twice(
        self, wire: Wire, make: Make, recorder: MemoryRecorder
    ) -> None:
        again = MetricsCallbackHandler(recorder, agent_name=AGENT)
        await make().ainvoke("x", {"callbacks": [again]})
        assert recorder.value("llm_calls_total") == 1
        equals_the_wire(recorder, wire)

    async def test_every_way_to_call_is_counted_from_many_threads(
        self, wire: Wire, make: Make, recorder: MemoryRecorder
    ) -> None:
        model = make()

        def work() -> None:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda _: model.invoke("x"), range(80)))

        await asyncio.to_thread(work)
        assert wire.count(ended="success") == 80
        equals_the_wire(recorder, wire)


async def _done(call: Callable[[Any], Any], model: BaseChatModel) -> None:
    """Async on this loop, sync in a thread of its own: the wire is somewhere else anyway."""
    result = await asyncio.to_thread(call, model)
    if isinstance(result, Awaitable):
        await result


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class TestWhatTheProviderRefuses:
    @pytest.mark.parametrize(
        ("provider", "refusal", "error_type"),
        [
            ("openai", Refusal(429), "rate_limit"),
            ("openai", Refusal(429, "insufficient_quota"), "rate_limit"),
            ("openai", Refusal(500), "server_error"),
            ("openai", Refusal(503), "server_error"),
            ("openai", Refusal(401), "authentication"),
            ("openai", Refusal(403), "authentication"),
            ("openai", Refusal(400), "invalid_request"),
            ("openai", Refusal(404), "invalid_request"),
            ("openai", Refusal(400, "context_length_exceeded"), "context_length"),
            ("openai", Refusal(400, "content_filter"), "content_filter"),
            ("anthropic", Refusal(429), "rate_limit"),
            ("anthropic", Refusal(500), "server_error"),
            ("anthropic", Refusal(529, "overloaded_error"), "server_error"),
            ("anthropic", Refusal(401), "authentication"),
            ("anthropic", Refusal(403), "authentication"),
            ("anthropic", Refusal(400), "invalid_request"),
            ("anthropic", Refusal(404), "invalid_request"),
            ("anthropic", TOO_LONG, "context_length"),
        ],
    )
    @pytest.mark.parametrize("way", ["ainvoke", "astream"])
    async def test_what_the_provider_refuses_is_an_error_of_its_type(
        self,
        way: str,
        refusal: Refusal,
        error_type: str,
        wire: Wire,
        provider: str,
        make: Make,
        recorder: MemoryRecorder,
    ) -> None:
        wire.script(MODELS[provider], refusal)
        with pytest.raises(Exception, match=r"."):
            await WAYS[way][2](make())
        assert recorder.value("llm_errors_total", error_type=error_type) == 1
        assert recorder.value("llm_errors_total") == 1
        equals_the_wire(recorder, wire)

    async def test_what_the_provider_refuses_and_then_answers_to_the_sdk_is_one_call(
        self, wire: Wire, provider: str, recorder: MemoryRecorder
    ) -> None:
        model = _model(wire, provider, recorder, max_retries=1)
        wire.script(MODELS[provider], Refusal(500))
        await model.ainvoke("x")
        assert (wire.count(ended="error"), wire.count(ended="success")) == (1, 1)
        assert recorder.value("llm_calls_total", status="success") == 1
        assert recorder.value("llm_calls_total") == 1

    async def test_what_the_provider_refuses_and_then_answers_to_with_retry_is_two_calls(
        self, wire: Wire, provider: str, make: Make, recorder: MemoryRecorder
    ) -> None:
        wire.script(MODELS[provider], Refusal(429))
        again = make().with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
        await again.ainvoke("x")
        assert recorder.value("llm_calls_total", status="error") == 1
        assert recorder.value("llm_calls_total", status="success") == 1
        equals_the_wire(recorder, wire)

    async def test_what_the_provider_refuses_falls_back_to_the_other_provider_and_both_are_counted(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        first, second = (_model(wire, name, recorder) for name in ("openai", "anthropic"))
        wire.script(MODELS["openai"], Refusal(500))
        await first.with_fallbacks([second]).ainvoke("x")
        assert recorder.value("llm_calls_total", provider="openai", status="error") == 1
        assert recorder.value("llm_calls_total", provider="anthropic", status="success") == 1
        equals_the_wire(recorder, wire)


class TestWhatGoesWrongOnTheWay:
    @pytest.mark.parametrize("way", ["stream", "astream", "astream_events v2", "astream_events v3"])
    async def test_a_stream_that_breaks_in_the_middle_is_a_connection_error_without_tokens(
        self, way: str, wire: Wire, provider: str, make: Make, recorder: MemoryRecorder
    ) -> None:
        wire.script(MODELS[provider], Answer(breaks=True))
        with pytest.raises(Exception, match=r"."):
            await _done(WAYS[way][2], make())
        assert recorder.value("llm_errors_total", error_type="connection") == 1
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 1
        assert series(recorder, "llm_tokens_total") == {}
        equals_the_wire(recorder, wire)

    async def test_a_timeout_of_the_client_is_an_error(
        self, wire: Wire, provider: str, make: Make, recorder: MemoryRecorder
    ) -> None:
        wire.script(MODELS[provider], Answer(hangs=True))
        with pytest.raises(Exception, match=r"(?i)time"):
            await make(timeout=0.2).ainvoke("x")
        assert recorder.value("llm_errors_total", error_type="timeout") == 1
        assert recorder.value("llm_active_calls") == 0
        await asyncio.to_thread(wire.settled)

    async def test_nobody_at_the_address_is_a_connection_error(
        self, wire: Wire, provider: str, recorder: MemoryRecorder
    ) -> None:
        nowhere = Wire(address="http://127.0.0.1:1")
        with pytest.raises(Exception, match=r"."):
            await _model(nowhere, provider, recorder).ainvoke("x")
        assert recorder.value("llm_errors_total", error_type="connection") == 1

    async def test_a_cancelled_call_is_cancelled_once_the_wire_has_it(
        self, wire: Wire, provider: str, make: Make, recorder: MemoryRecorder
    ) -> None:
        wire.script(MODELS[provider], *[Answer(hangs=True)] * 10)
        model = make()
        tasks = [asyncio.create_task(model.ainvoke("x")) for _ in range(10)]
        await traffic.until(lambda: wire.hanging[AGENT] == 10)
        assert recorder.value("llm_active_calls", provider=provider) == 10
        while tasks:
            await _cancelled(tasks.pop())
        await asyncio.to_thread(wire.settled)
        assert recorder.value("llm_calls_total", status="cancelled") == 10
        equals_the_wire(recorder, wire)

    async def test_a_stream_that_the_reader_leaves_is_cancelled(
        self, wire: Wire, provider: str, make: Make, recorder: MemoryRecorder
    ) -> None:
        wire.script(MODELS[provider], *[Answer(hangs=True)] * 2)
        stream: Any = make().astream("x")
        await anext(stream)
        await stream.aclose()

        def in_a_thread() -> None:
            reading: Any = make().stream("x")
            next(reading)
            reading.close()

        await asyncio.to_thread(in_a_thread)
        await asyncio.to_thread(wire.settled)
        assert recorder.value("llm_calls_total", status="cancelled") == 2
        equals_the_wire(recorder, wire)


class TestUsage:
    async def test_usage_of_several_choices_is_counted_once_and_names_the_model_that_served(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        result = await _model(wire, "openai", recorder, n=3).agenerate([[MESSAGE]])
        assert len(result.generations[0]) == 3
        equals_the_wire(recorder, wire)

    async def test_usage_that_a_stream_does_not_send_is_unknown_and_not_zero(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        model = _model(wire, "openai", recorder).model_copy(update={"stream_usage": False})
        await _each(model.astream("x"))
        assert recorder.value("llm_calls_total", status="success") == 1
        for name in ("llm_tokens_total", "llm_cost_usd_total", "llm_unpriced_calls_total"):
            assert series(recorder, name) == {}

    @pytest.mark.parametrize("kind", ["cache_read", "cache_creation"])
    async def test_usage_of_anthropics_cache_costs_the_same_streamed_or_not(
        self, kind: str, wire: Wire
    ) -> None:
        costs = []
        for way in ("ainvoke", "astream"):
            recorder = MemoryRecorder()
            counts: Any = {kind: 100_000}
            answer = Answer(fresh=10, output=20, **counts)
            wire.script(MODELS["anthropic"], answer)
            await WAYS[way][2](_model(wire, "anthropic", recorder))
            assert recorder.value("llm_token_details_total", token_detail=kind) == 100_000
            costs.append(recorder.value("llm_cost_usd_total"))
        assert costs[0] == pytest.approx(costs[1], rel=1e-12)
        assert sum(costs) == pytest.approx(sum(traffic.costs(wire).values()), rel=1e-9)

    async def test_usage_of_anthropics_hour_long_cache_has_its_own_price(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        wire.script(MODELS["anthropic"], Answer(fresh=10, output=1, cache_creation_1h=1_000_000))
        await _model(wire, "anthropic", recorder).ainvoke("x")
        assert recorder.value("llm_cost_usd_total") == pytest.approx(2.000015)
        equals_the_wire(recorder, wire)

    async def test_usage_that_langchains_cache_answers_is_a_hit_and_costs_nothing(
        self, wire: Wire, make: Make, recorder: MemoryRecorder
    ) -> None:
        model = make(cache=InMemoryCache())
        for _ in range(3):
            await model.ainvoke("x")
        assert wire.count(ended="success") == 1
        assert recorder.value("llm_cache_hits_total") == 2
        equals_the_wire(recorder, wire)


class TestAgentsWithTools:
    @pytest.mark.parametrize("way", ["ainvoke", "astream", "astream_events v2"])
    async def test_agents_with_tools_are_runs_with_their_calls_and_tools(
        self, way: str, wire: Wire, provider: str, recorder: MemoryRecorder
    ) -> None:
        maker = traffic.openai if provider == "openai" else traffic.anthropic
        model = maker(wire, "adder", MODELS[provider])
        agent = followed(create_agent(model, [traffic.add], name="adder"), "adder", recorder)
        wire.script(MODELS[provider], Answer(tools=(("add", {"a": 1, "b": 2}),) * 2))
        config: Any = {"callbacks": [MetricsCallbackHandler(recorder)]}
        task: Any = {"messages": [("user", "x")]}
        if way == "ainvoke":
            await agent.ainvoke(task, config)
        elif way == "astream":
            await _each(agent.astream(task, config, stream_mode="messages"))
        else:
            await _each(agent.astream_events(task, config, version="v2"))
        assert series(recorder, "agent_runs_total") == {("adder", "success"): 1}
        assert series(recorder, "tool_executions_total") == {("adder", "add", "success"): 2}
        assert recorder.histogram("agent_run_llm_calls").sum == 2
        assert recorder.histogram("agent_run_tool_calls").sum == 2
        sent = sum(call.input_tokens + call.output_tokens for call in wire.calls)
        assert recorder.histogram("agent_run_tokens").sum == sent
        equals_the_wire(recorder, wire)

    async def test_agents_with_tools_end_their_run_with_the_error_of_their_call(
        self, wire: Wire, provider: str, recorder: MemoryRecorder
    ) -> None:
        maker = traffic.openai if provider == "openai" else traffic.anthropic
        graph = create_agent(maker(wire, "adder", MODELS[provider]), name="adder")
        agent = followed(graph, "adder", recorder)
        wire.script(MODELS[provider], Refusal(500))
        with suppress(Exception):
            await agent.ainvoke(
                {"messages": [("user", "x")]},
                {"callbacks": [MetricsCallbackHandler(recorder)]},
            )
        assert series(recorder, "agent_runs_total") == {("adder", "error"): 1}
        equals_the_wire(recorder, wire)
