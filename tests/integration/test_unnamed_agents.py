"""Agents without a name: each has one of use and a run, and its own nodes are never agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

from agentmetrics import (
    MemoryRecorder,
    MetricsCallbackHandler,
    configure,
    track_call,
    track_run,
)
from tests.integration.apps import traffic
from tests.integration.test_topologies import nothing_is_left
from tests.services.wire import Answer, Wire
from tests.unit.scripted import by, runs

pytestmark = pytest.mark.usefixtures("agent_metrics")

TASK: Any = {"messages": [("user", "x")]}


@tool
def look() -> str:
    """Look."""
    return "seen"


@pytest.fixture
def config(handler: MetricsCallbackHandler) -> Any:
    """The handler, and the thread that a checkpointer keeps."""
    return {"callbacks": [handler], "configurable": {"thread_id": "1"}}


@pytest.fixture
def agent(wire: Wire) -> Any:
    """A ``create_agent`` without a name; it uses its tool once."""
    wire.script("gpt-4o", Answer(tools=(("look", {}),)))
    return create_agent(traffic.openai(wire, "nobody", "gpt-4o"), [look])


def all_agents(recorder: MemoryRecorder) -> set[Any]:
    """The agents that have calls, tool executions or runs."""
    metrics = ("llm_calls_total", "tool_executions_total", "agent_runs_total")
    return {name for metric in metrics for name in by(recorder, metric, "agent_name")}


class TestAnUnnamedAgent:
    def test_an_unnamed_agent_by_itself_has_the_name_that_the_settings_give_it(
        self, agent: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AGENTMETRICS_DEFAULT_AGENT_NAME", "assistant")
        recorder = configure(backend="memory")
        assert isinstance(recorder, MemoryRecorder)
        agent.invoke(TASK, {"callbacks": [MetricsCallbackHandler()]})
        assert all_agents(recorder) == {"assistant"}
        assert runs(recorder) == {("assistant", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls", agent_name="assistant").sum == 2

    def test_calls_of_nobody_have_the_default_name_wherever_they_come_from(
        self, wire: Wire
    ) -> None:
        recorder = configure(backend="memory", default_agent_name="assistant")
        assert isinstance(recorder, MemoryRecorder)
        model = traffic.openai(wire, "nobody", "gpt-4o")
        model.invoke("x", {"callbacks": [MetricsCallbackHandler()]})
        with track_call("ollama", "llama3"):
            pass
        assert by(recorder, "llm_calls_total", "agent_name") == {"assistant": 2}

    def test_two_unnamed_agents_in_one_process_are_two_runs_of_one_agent(
        self, agent: Any, wire: Wire, config: Any, recorder: MemoryRecorder
    ) -> None:
        agent.invoke(TASK, config)
        create_agent(traffic.openai(wire, "nobody", "gpt-4o-mini"), []).invoke(TASK, config)
        assert all_agents(recorder) == {"unknown"}
        assert runs(recorder) == {("unknown", "success"): 2}
        nothing_is_left(recorder)

    def test_an_unnamed_agent_in_a_tracked_run_is_part_of_that(
        self, agent: Any, recorder: MemoryRecorder
    ) -> None:
        with track_run("reviewer", recorder=recorder):
            agent.invoke(TASK)
        assert all_agents(recorder) == {"reviewer"}
        assert runs(recorder) == {("reviewer", "success"): 1}
        nothing_is_left(recorder)

    def test_an_unnamed_agent_has_the_name_that_its_metadata_says(
        self, agent: Any, config: Any, recorder: MemoryRecorder
    ) -> None:
        agent.invoke(TASK, {**config, "metadata": {"agent_name": "chosen"}})
        assert all_agents(recorder) == {"chosen"}
        assert runs(recorder) == {("chosen", "success"): 1}

    def test_a_handler_that_only_the_model_has_makes_no_agent_of_a_node(
        self, handler: BaseCallbackHandler, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        model = traffic.openai(wire, "nobody", "gpt-4.1").model_copy(
            update={"callbacks": [handler]}
        )

        class Before(AgentMiddleware):
            def before_model(self, *_: Any) -> None:
                model.invoke("x")

        create_agent(model, [], middleware=[Before()]).invoke(TASK)
        assert by(recorder, "llm_calls_total", "agent_name") == {"unknown": 2}
        nothing_is_left(recorder)

    def test_an_unnamed_agent_that_fails_is_a_failed_run(
        self, wire: Wire, config: Any, recorder: MemoryRecorder
    ) -> None:
        @tool
        def fail() -> str:
            """Fail."""
            raise LookupError

        wire.script("gpt-4o", Answer(tools=(("fail", {}),)))
        agent = create_agent(traffic.openai(wire, "nobody", "gpt-4o"), [fail])
        with pytest.raises(LookupError):
            agent.invoke(TASK, config)
        assert runs(recorder) == {("unknown", "error"): 1}
        nothing_is_left(recorder)


def _agent_that_asks(wire: Wire) -> Any:
    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("?"))

    wire.script("gpt-4o", Answer(tools=(("ask", {}),)))
    model = traffic.openai(wire, "nobody", "gpt-4o")
    return create_agent(model, [ask], checkpointer=InMemorySaver())


def _workflow_that_asks(wire: Wire) -> Any:
    model = traffic.openai(wire, "nobody", "gpt-4o")

    @task
    def think() -> str:
        return str(model.invoke("x").content)

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(_: Any) -> Any:
        thought = think().result()
        interrupt("?")
        return [thought, model.invoke("x").content]

    return workflow


@pytest.mark.parametrize(
    ("build", "name"), [(_agent_that_asks, "unknown"), (_workflow_that_asks, "workflow")]
)
def test_an_interrupted_run_and_the_resumed_one_are_a_run_each(
    build: Callable[[Wire], Any], name: str, wire: Wire, config: Any, recorder: MemoryRecorder
) -> None:
    graph = build(wire)
    graph.invoke(TASK, config)
    graph.invoke(Command(resume="yes"), config)
    assert all_agents(recorder) == {name}
    assert recorder.value("llm_calls_total", agent_name=name) == len(wire.calls) == 2
    assert runs(recorder) == {(name, "interrupted"): 1, (name, "success"): 1}
    nothing_is_left(recorder)
