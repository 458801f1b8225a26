"""track_run and track_tool: runs and tools without LangChain and without a base class."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from langchain_core.language_models import FakeListChatModel

from agentmetrics import (
    BudgetExceeded,
    InstrumentedAgent,
    MemoryRecorder,
    labels,
    record_call,
    record_tool,
    track_call,
    track_run,
    track_tool,
)
from agentmetrics.pipeline import Options, pipeline_of

pytestmark = pytest.mark.anyio


def runs(recorder, agent_name, status="success"):
    return recorder.value("agent_runs_total", agent_name=agent_name, status=status)


def tools(recorder, agent_name, tool_name, status="success"):
    return recorder.value(
        "tool_executions_total", agent_name=agent_name, tool_name=tool_name, status=status
    )


class TestARun:
    def test_a_run_has_the_calls_and_tools_inside_in_its_totals(self, recorder):
        with track_run("reviewer"):
            with track_call("openai", "gpt-4o-mini") as call:
                call.record_usage(1000, 100)
            with track_tool("search"):
                pass
        assert runs(recorder, "reviewer") == 1
        assert recorder.value("llm_calls_total", agent_name="reviewer", status="success") == 1
        assert tools(recorder, "reviewer", "search") == 1
        totals = ("agent_run_llm_calls", "agent_run_tool_calls", "agent_run_tokens")
        assert [recorder.histogram(total).sum for total in totals] == [1, 1, 1100]

    async def test_a_run_may_be_an_async_block(self, recorder, anyio_backend):
        async with track_run("reviewer"), track_tool("search"):
            pass
        assert runs(recorder, "reviewer") == 1
        assert tools(recorder, "reviewer", "search") == 1

    def test_a_run_has_langchains_calls_without_passing_callbacks(self, recorder):
        with track_run("reviewer"):
            FakeListChatModel(responses=["yes"]).invoke("well?")
        assert recorder.value("llm_calls_total", agent_name="reviewer", status="success") == 1
        assert recorder.value("llm_calls_total") == 1

    def test_a_run_inside_of_another_is_a_run_of_its_own(self, recorder):
        with track_run("outer"):
            with track_run("inner"), track_tool("deep"):
                pass
            with track_tool("shallow"):
                pass
        assert (runs(recorder, "outer"), runs(recorder, "inner")) == (1, 1)
        assert tools(recorder, "inner", "deep") == tools(recorder, "outer", "shallow") == 1

    def test_a_run_is_in_flight_until_it_is_over(self, recorder):
        with track_run("reviewer"), track_tool("search"):
            assert recorder.value("agent_active_runs", agent_name="reviewer") == 1
            assert recorder.value("tool_executions_active", tool_name="search") == 1
        assert recorder.value("agent_active_runs", agent_name="reviewer") == 0
        assert recorder.value("tool_executions_active", tool_name="search") == 0

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (ValueError, "error"),
            (asyncio.CancelledError, "cancelled"),
            (KeyboardInterrupt, "cancelled"),
        ],
    )
    def test_a_run_ends_as_what_the_exception_makes_of_it(self, recorder, error, status):
        with pytest.raises(error), track_run("reviewer"), track_tool("search"):
            raise error
        assert runs(recorder, "reviewer", status) == 1
        assert tools(recorder, "reviewer", "search", status) == 1

    def test_a_run_that_has_cost_its_limit_gets_no_further_call(self, recorder):
        with track_run("reviewer", max_cost_usd=0.5):
            with track_call("openai", "gpt-4o-mini") as call:
                call.record_usage(10, 1, cost_usd=0.5)
            with pytest.raises(BudgetExceeded), track_call("openai", "gpt-4o-mini"):
                raise AssertionError("it was let through")

    def test_a_run_goes_to_the_recorder_that_it_is_given(self, recorder):
        other = MemoryRecorder()
        with track_run("reviewer", recorder=other):
            FakeListChatModel(responses=["yes"]).invoke("well?")
        assert runs(other, "reviewer") == other.value("llm_calls_total") == 1
        assert runs(recorder, "reviewer") == 0

    def test_a_run_has_the_extra_labels_around(self, recorder):
        labelled = MemoryRecorder()
        pipeline_of(labelled, Options(extra_labels=("tenant",)))
        run, tool = track_run("reviewer", recorder=labelled), track_tool("s", recorder=labelled)
        with labels(tenant="acme"), run, tool:
            pass
        for metric in ("agent_runs_total", "tool_executions_total"):
            assert labelled.value(metric, tenant="acme", status="success") == 1

    def test_a_block_is_entered_once_at_a_time(self):
        run = track_run("reviewer")
        with run, pytest.raises(RuntimeError, match="this track_run is entered already"):
            run.__enter__()
        with run:  # it was left
            pass


class TestATool:
    def test_a_tool_outside_of_agents_has_the_name_it_is_given(self, recorder):
        with track_tool("search", agent_name="clerk"):
            pass
        with track_tool("search"):
            pass
        assert tools(recorder, "clerk", "search") == tools(recorder, "unknown", "search") == 1

    def test_a_tool_of_an_instrumented_agent_is_that_agents(self, recorder):
        class Clerk(InstrumentedAgent):
            @track_tool("search")
            def search(self) -> str:
                return "found"

            def run(self) -> str:
                return self.search()

        assert Clerk().run() == "found"
        assert tools(recorder, "Clerk", "search") == 1

    def test_a_tool_inside_of_a_langchain_tool_is_its_agents(self, recorder, handler):
        from langchain_core.runnables import RunnableLambda

        @track_tool("inner")
        def inner(text: str) -> str:
            return text

        RunnableLambda(inner).invoke(
            "x", {"callbacks": [handler], "metadata": {"agent_name": "writer"}}
        )
        assert tools(recorder, "writer", "inner") == 1


@pytest.mark.parametrize("span", [track_run, track_tool])
class TestADecorator:
    def counted(self, recorder, span, status="success"):
        if span is track_run:
            return runs(recorder, "it", status)
        return recorder.value("tool_executions_total", tool_name="it", status=status)

    def test_a_decorated_function_counts_each_of_its_calls(self, recorder, span):
        @span("it")
        def double(number: int) -> int:
            """Twice."""
            return 2 * number

        assert [double(1), double(number=2)] == [2, 4]
        assert (double.__name__, double.__doc__) == ("double", "Twice.")
        assert self.counted(recorder, span) == 2

    async def test_a_decorated_coroutine_lasts_until_it_is_over(
        self, recorder, span, anyio_backend
    ):
        @span("it")
        async def double(number: int) -> int:
            assert self.counted(recorder, span) == 0
            return 2 * number

        assert inspect.iscoroutinefunction(double)
        assert await double(2) == 4
        assert self.counted(recorder, span) == 1

    def test_a_decorated_generator_lasts_until_it_is_exhausted(self, recorder, span):
        @span("it")
        def numbers():
            yield 1
            yield 2

        reading = numbers()
        assert next(reading) == 1
        assert self.counted(recorder, span) == 0
        assert list(reading) == [2]
        assert self.counted(recorder, span) == 1

    def test_a_decorated_generator_that_is_closed_early_is_cancelled(self, recorder, span):
        @span("it")
        def numbers():
            yield 1

        reading = numbers()
        next(reading)
        reading.close()
        assert self.counted(recorder, span, "cancelled") == 1

    async def test_a_decorated_async_generator_lasts_until_it_is_exhausted(
        self, recorder, span, anyio_backend
    ):
        @span("it")
        async def numbers():
            yield 1

        assert [number async for number in numbers()] == [1]
        assert self.counted(recorder, span) == 1

    def test_a_decorated_recursion_counts_each_level(self, recorder, span):
        @span("it")
        def down(number: int) -> int:
            return down(number - 1) if number else 0

        down(2)
        assert self.counted(recorder, span) == 3

    def test_a_decorator_stands_below_those_that_make_no_functions(self, recorder, span):
        class Class:
            @classmethod
            @span("it")
            def of_class(cls) -> type:
                return cls

            @staticmethod
            @span("it")
            def static() -> int:
                return 1

            @property
            @span("it")
            def value(self) -> int:
                return 2

        assert (Class.of_class(), Class.static(), Class().value) == (Class, 1, 2)
        assert self.counted(recorder, span) == 3

    @pytest.mark.parametrize("kind", [classmethod, staticmethod, property])
    def test_a_decorator_above_them_says_so(self, span, kind):
        said = f"{span.__name__} cannot decorate a {kind.__name__}: write @{kind.__name__} above"
        with pytest.raises(TypeError, match=said):
            span("it")(kind(lambda: None))

    @pytest.mark.parametrize("wrong", [object, 3, "text"])
    def test_a_decorator_of_what_is_no_function_says_so(self, span, wrong):
        with pytest.raises(TypeError, match="decorates functions, not"):
            span("it")(wrong)


def test_who_has_no_name_is_unknown_as_everywhere(recorder: MemoryRecorder) -> None:
    with track_run("", recorder=recorder), track_tool("", recorder=recorder):
        record_call("", "", recorder=recorder)
        record_tool("", recorder=recorder)
        with track_call("", "", recorder=recorder):
            pass
    found = recorder.summary()
    assert [(row.agent, row.runs, row.calls) for row in found.agents] == [("unknown", 1, 2)]
    assert [(row.provider, row.model) for row in found.models] == [("unknown", "unknown")]
    assert [(row.tool, row.executions) for row in found.tools] == [("unknown", 2)]
