"""Extra labels through real graphs: each source, what inherits them, and what stays apart."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from agentmetrics import MemoryRecorder, MetricsCallbackHandler, labels
from agentmetrics.pipeline import Options, pipeline_of
from tests.integration.apps.topologies import AsyncKit, Kit, Owner, graph, own, task_of, told
from tests.services.wire import Wire

pytestmark = pytest.mark.asyncio_alone

EVERYTHING = (
    "llm_calls_total",
    "llm_tokens_total",
    "llm_cost_usd_total",
    "llm_latency_seconds_count",
    "tool_executions_total",
    "retriever_queries_total",
    "agent_runs_total",
    "agent_run_llm_calls_count",
)
"""Metrics that have the extra labels, one of each kind of thing."""


@pytest.fixture
def recorder() -> MemoryRecorder:
    """One with labels of the user's: the tenant and the type of the task."""
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant", "task_type")))
    return recorder


@dataclass
class Context:
    tenant: str


class Failing:
    """A context of the user's that knows no tenant and says so loudly."""

    @property
    def tenant(self) -> str:
        raise RuntimeError


def office(kit: Kit) -> Any:
    """A graph with everything in it that has extra labels, three agents deep."""
    desk, planner, helper, reviewer = (
        graph("desk"),
        told("planner"),
        told("helper"),
        own("reviewer"),
    )
    kit.asks(planner, "help search review")
    kit.asks(helper, "look")
    inner = kit.agent(helper, kit.tool(helper, "look"))
    review = kit.instrumented(reviewer, kit.model(reviewer), kit.client_call(reviewer))
    shelf = kit.retriever(planner, kit.model(planner))
    agent = kit.agent(
        planner,
        kit.tool(planner, "help", inner),
        kit.tool(planner, "search", shelf),
        kit.tool(planner, "review", review),
    )
    builder = StateGraph(MessagesState, context_schema=Context)
    builder.add_node("plan", kit.body(agent))
    builder.add_node("call", kit.body(kit.model(desk), kit.client_call(desk)))
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "call")
    return builder.compile(name="desk")


def values(recorder: MemoryRecorder, metric: str, *names: str) -> Any:
    """The values of a metric that are not 0, by the values of these labels."""
    found: Any = Counter[Any]()  # of floats, which its type does not know
    for sample in recorder.samples():
        if sample.name == metric and sample.value:
            key = tuple(sample.labels[name] for name in names)
            found[key[0] if len(key) == 1 else key] += sample.value
    return found


def tenants(recorder: MemoryRecorder) -> dict[str, set[str]]:
    """The tenants that each kind of thing was counted for."""
    return {metric: set(values(recorder, metric, "tenant")) for metric in EVERYTHING}


def everything_is(recorder: MemoryRecorder, tenant: str) -> None:
    assert tenants(recorder) == {metric: {tenant} for metric in EVERYTHING}
    assert recorder.value("agentmetrics_handler_errors_total") == 0


Around = Callable[[], AbstractContextManager[None]]

SOURCES: dict[str, tuple[Any, Any, Around]] = {
    # config, context, and what is around
    "metadata": ({"metadata": {"tenant": "acme"}}, None, nullcontext),
    "configurable": ({"configurable": {"tenant": "acme"}}, None, nullcontext),
    "context": ({}, Context("acme"), nullcontext),
    "context that is a mapping": ({}, {"tenant": "acme"}, nullcontext),
    "labels": ({}, None, lambda: labels(tenant="acme")),
    "metadata before configurable": (
        {"metadata": {"tenant": "acme"}, "configurable": {"tenant": "other"}},
        None,
        nullcontext,
    ),
    "configurable before context": (
        {"configurable": {"tenant": "acme"}},
        Context("other"),
        nullcontext,
    ),
    "metadata before labels": (
        {"metadata": {"tenant": "acme"}},
        None,
        lambda: labels(tenant="other"),
    ),
    "configurable before labels": (
        {"configurable": {"tenant": "acme"}},
        None,
        lambda: labels(tenant="other"),
    ),
    "context before labels": ({}, Context("acme"), lambda: labels(tenant="other")),
    "labels where the context fails": ({}, Failing(), lambda: labels(tenant="acme")),
    "labels where the others have none": (
        {"metadata": {"tenant": None}, "configurable": {"tenant": None}},
        Context(None),  # type: ignore[arg-type]
        lambda: labels(tenant="acme"),
    ),
}


@pytest.mark.parametrize("source", SOURCES)
class TestAValue:
    def test_the_value_of_a_label_reaches_everything_in_a_graph(
        self, source: str, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
    ) -> None:
        config, context, around = SOURCES[source]
        root = office(Kit(wire, recorder))
        with around():
            root.invoke(task_of(root), {**config, "callbacks": [handler]}, context=context)
        everything_is(recorder, "acme")

    if sys.version_info >= (3, 11):  # before, LangGraph does not say the config in async nodes

        @pytest.mark.anyio
        async def test_the_value_of_a_label_reaches_everything_in_a_graph_on_an_event_loop(
            self, source: str, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
        ) -> None:
            config, context, around = SOURCES[source]
            root = office(AsyncKit(wire, recorder))
            with around():
                items = root.astream(
                    task_of(root), {**config, "callbacks": [handler]}, context=context
                )
                assert [item async for item in items]
            everything_is(recorder, "acme")


class TestWhatIsNeverALabelUnasked:
    def test_what_else_stands_in_the_config_is_never_a_label_unasked(
        self, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
    ) -> None:
        root = office(Kit(wire, recorder))
        others = {"thread_id": "t-1", "checkpoint_ns": "", "api_key": "secret", "user_id": "u-1"}
        config = {"callbacks": [handler], "configurable": {**others, "tenant": "acme"}}
        root.invoke(task_of(root), config)
        everything_is(recorder, "acme")
        said = {value for sample in recorder.samples() for value in sample.labels.values()}
        assert said.isdisjoint({"t-1", "secret", "u-1"})
        names = {name for sample in recorder.samples() for name in sample.labels}
        assert names.isdisjoint(others)

    def test_what_stands_in_the_config_is_a_label_when_the_user_names_it(self, wire: Wire) -> None:
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(extra_labels=("thread_id",)))
        kit = Kit(wire, recorder)
        desk = kit.graph("desk", work=kit.body(kit.model(graph("desk"))))
        config = {"callbacks": [MetricsCallbackHandler(recorder)]}
        desk.invoke(task_of(desk), {**config, "configurable": {"thread_id": "t-1"}})
        assert values(recorder, "llm_calls_total", "thread_id") == {"t-1": 1}
        assert values(recorder, "agent_runs_total", "thread_id") == {"t-1": 1}

    def test_what_stands_in_the_config_is_cleaned_when_it_is_no_text(
        self, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
    ) -> None:
        kit = Kit(wire, recorder)
        desk = kit.graph("desk", work=kit.body(kit.model(graph("desk"))))
        odd = {"tenant": ["my", "secret"], "task_type": 7}
        desk.invoke(task_of(desk), {"callbacks": [handler], "configurable": odd})
        assert values(recorder, "llm_calls_total", "tenant", "task_type") == {("invalid", "7"): 1}


class TestANestedCall:
    def test_a_nested_call_has_a_value_of_its_own_where_it_is_given_one(
        self, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
    ) -> None:
        kit = Kit(wire, recorder)
        desk, inner = graph("desk"), graph("inner")
        model = kit.model(inner)
        nested = kit.graph("inner", work=kit.body(model))

        def work(_: Any) -> Any:
            nested.invoke(task_of(nested), {"metadata": {"tenant": "by metadata"}})
            nested.invoke(task_of(nested), {"configurable": {"tenant": "by config"}})
            with labels(tenant="by labels", task_type="review"):  # the config comes first
                nested.invoke(task_of(nested))
            kit.model(desk).invoke("x")
            return {"messages": []}

        root = kit.graph("desk", work=work)
        config = {"callbacks": [handler], "configurable": {"tenant": "acme"}}
        root.invoke(task_of(root), config)
        expected = {
            ("inner", "by metadata", ""): 1,
            ("inner", "by config", ""): 1,
            ("inner", "acme", "review"): 1,
            ("desk", "acme", ""): 1,
        }
        names = "agent_name", "tenant", "task_type"
        assert values(recorder, "llm_calls_total", *names) == expected
        assert values(recorder, "agent_runs_total", *names) == expected

    def test_a_nested_call_has_that_of_its_run_where_the_context_is_lost(
        self, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
    ) -> None:
        kit = Kit(wire, recorder)
        model = kit.model(graph("desk"))

        def work(_: Any, config: Any) -> Any:
            model.invoke("x")
            with ThreadPoolExecutor(1) as pool:  # which does not copy the context
                pool.submit(model.invoke, "x", config).result()
            return {"messages": []}

        root = kit.graph("desk", work=_annotated(work))
        with labels(task_type="review"):
            root.invoke(task_of(root), {"callbacks": [handler], "configurable": {"tenant": "acme"}})
        names = "agent_name", "tenant", "task_type"
        assert values(recorder, "llm_calls_total", *names) == {("desk", "acme", "review"): 2}

    def test_a_nested_call_of_a_stream_has_what_was_around_where_it_was_first_read(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        kit = Kit(wire, recorder)
        reviewer = own("reviewer")
        agent = kit.instrumented(reviewer, kit.model(reviewer), kit.client_call(reviewer))
        stream = agent.stream("x")
        with labels(tenant="acme"):
            first = next(stream)
        assert [first, *stream]
        assert values(recorder, "llm_calls_total", "tenant") == {"acme": 2}
        assert values(recorder, "agent_runs_total", "tenant") == {"acme": 1}


def _annotated(function: Any) -> Any:
    """LangGraph reads the annotation itself, which is a string here."""
    from langchain_core.runnables import RunnableConfig

    function.__annotations__["config"] = RunnableConfig
    return function


class TestValuesOfOthers:
    """Whoever runs at the same time on the same handler has their own."""

    NAMES = tuple(f"tenant-{number}" for number in range(6))

    def _agents(self, kit: Kit) -> Iterator[tuple[str, Any]]:
        for name in self.NAMES:
            owner = told(name)
            kit.asks(owner, "look", "", "look")  # the second is the tool's own call
            yield name, kit.agent(owner, kit.tool(owner, "look", kit.client_call(owner)))

    def _each_is_its_own(self, recorder: MemoryRecorder, wire: Wire) -> None:
        sent = Counter(Owner.read(call.agent).name for call in wire.calls)
        for metric, expected in {
            "llm_calls_total": {(name, name): count for name, count in sent.items()},
            "tool_executions_total": {(name, name): 2 for name in self.NAMES},
            "agent_runs_total": {(name, name): 1 for name in self.NAMES},
        }.items():
            assert values(recorder, metric, "agent_name", "tenant") == expected

    @pytest.mark.parametrize("source", ["labels", "configurable", "metadata"])
    def test_threads_do_not_have_the_values_of_others(
        self, source: str, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
    ) -> None:
        def work(name: str, agent: Any) -> None:
            values = {"tenant": name}
            config: Any = {"callbacks": [handler]}
            if source != "labels":
                config[source] = values
            with labels(**values) if source == "labels" else nullcontext():
                agent.invoke(task_of(agent), config)

        with ThreadPoolExecutor(len(self.NAMES)) as pool:
            for done in [pool.submit(work, *each) for each in self._agents(Kit(wire, recorder))]:
                done.result()
        self._each_is_its_own(recorder, wire)

    if sys.version_info >= (3, 11):

        @pytest.mark.anyio
        @pytest.mark.parametrize("source", ["labels", "configurable", "metadata"])
        async def test_tasks_do_not_have_the_values_of_others(
            self, source: str, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
        ) -> None:
            async def work(name: str, agent: Any) -> None:
                values = {"tenant": name}
                config: Any = {"callbacks": [handler]}
                if source != "labels":
                    config[source] = values
                with labels(**values) if source == "labels" else nullcontext():
                    await agent.ainvoke(task_of(agent), config)

            kit = AsyncKit(wire, recorder)
            await asyncio.gather(*(work(*each) for each in self._agents(kit)))
            self._each_is_its_own(recorder, wire)


class TestAThread:
    def test_a_thread_of_a_checkpointer_keeps_the_values_of_each_turn(
        self, wire: Wire, recorder: MemoryRecorder, handler: MetricsCallbackHandler
    ) -> None:
        kit = Kit(wire, recorder)
        builder = StateGraph(MessagesState)
        builder.add_node("work", kit.body(RunnableLambda(str) | kit.model(graph("desk"))))
        builder.add_edge(START, "work")
        desk = builder.compile(name="desk", checkpointer=InMemorySaver())
        for tenant in ("acme", "globex", "acme"):
            configurable = {"thread_id": "1", "tenant": tenant}
            desk.invoke(task_of(desk), {"callbacks": [handler], "configurable": configurable})
        assert values(recorder, "llm_calls_total", "tenant") == {"acme": 2, "globex": 1}
        assert values(recorder, "agent_runs_total", "tenant") == {"acme": 2, "globex": 1}
