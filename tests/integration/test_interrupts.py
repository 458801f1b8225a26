"""LangGraph's control flow, which LangChain tells as errors: interrupts and commands are none."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from agentmetrics import MemoryRecorder, MetricsCallbackHandler
from tests.integration.apps import traffic
from tests.integration.test_providers import equals_the_wire
from tests.services.wire import AGENT_HEADER, NO_KEY, Answer, Wire
from tests.unit.scripted import assert_settled, by, runs

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.asyncio_alone,
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]

TASK: Any = {"messages": [("user", "x")]}


@pytest.fixture
def config(handler: MetricsCallbackHandler) -> Any:
    """The handler, and the thread that a checkpointer keeps."""
    return {"callbacks": [handler], "configurable": {"thread_id": "1"}}


def _all(items: Iterator[Any]) -> None:
    for _ in items:
        pass


async def _aall(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass


async def _events_v3(graph: Any, task: Any, config: Any) -> None:
    await (await graph.astream_events(task, config, version="v3")).output()


WAYS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "invoke": lambda g, t, c: g.invoke(t, c),
    "stream": lambda g, t, c: _all(g.stream(t, c)),
    "stream of messages": lambda g, t, c: _all(g.stream(t, c, stream_mode="messages")),
    "stream_events v3": lambda g, t, c: g.stream_events(t, c, version="v3").output,
}
if sys.version_info >= (3, 11):  # LangGraph's interrupts in async runs need it
    WAYS |= {
        "ainvoke": lambda g, t, c: g.ainvoke(t, c),
        "astream": lambda g, t, c: _aall(g.astream(t, c)),
        "astream of messages": lambda g, t, c: _aall(g.astream(t, c, stream_mode="messages")),
        "astream_events v2": lambda g, t, c: _aall(g.astream_events(t, c, version="v2")),
        "astream_events v3": _events_v3,
    }


async def run(way: str, graph: Any, task: Any, config: Any) -> None:
    """Sync in a thread, async on the loop."""
    result = await asyncio.to_thread(WAYS[way], graph, task, config)
    if isinstance(result, Awaitable):
        await result


class Cautious(ChatOpenAI):
    """A model that asks a person before it asks the provider."""

    disable_streaming: bool = True

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        interrupt("may I?")
        return super()._generate(*args, **kwargs)


@tool
def ask() -> str:
    """Ask a person."""
    return interrupt("may I?")


def _model(wire: Wire, agent: str) -> Any:
    return traffic.openai(wire, agent, "gpt-4o")


def _graph(name: str, *nodes: Callable[[Any], Any], **options: Any) -> Any:
    """Nodes in a row, named after their functions."""
    graph: Any = StateGraph(MessagesState)
    before = START
    for node in nodes:
        graph.add_node(node.__name__, node)
        graph.add_edge(before, node.__name__)
        before = node.__name__
    return graph.compile(name=name, checkpointer=InMemorySaver(), **options)


def after_a_call(wire: Wire) -> Any:
    model = _model(wire, "asker")

    def answer(state: Any) -> Any:
        return {"messages": [model.invoke("x")]}

    def approve(state: Any) -> Any:
        return {"messages": [interrupt("may I?")]}

    return _graph("asker", answer, approve)


def in_a_tool(wire: Wire) -> Any:
    wire.script("gpt-4o", Answer(tools=(("ask", {}),)))
    return create_agent(_model(wire, "asker"), [ask], name="asker", checkpointer=InMemorySaver())


def in_a_model(wire: Wire) -> Any:
    model = Cautious(
        model="gpt-4o",
        base_url=f"{wire.url}/v1",
        api_key=NO_KEY,
        default_headers={AGENT_HEADER: "asker"},
    )

    def answer(state: Any) -> Any:
        return {"messages": [model.invoke("x")]}

    return _graph("asker", answer)


def in_a_graph_inside(wire: Wire) -> Any:
    graph: Any = StateGraph(MessagesState)
    graph.add_node("sub", after_a_call(wire))
    graph.add_edge(START, "sub")
    return graph.compile(name="outer", checkpointer=InMemorySaver())


def a_command(wire: Wire) -> Any:
    model = _model(wire, "asker")

    def answer(state: Any) -> Any:
        return Command(update={"messages": [model.invoke("x")]}, goto="check")

    def check(state: Any) -> Any:
        return {"messages": [model.invoke("x")]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("answer", answer, destinations=("check",))
    graph.add_node("check", check)
    graph.add_edge(START, "answer")
    return graph.compile(name="asker")


def a_parent_command(wire: Wire) -> Any:
    inner_model, outer_model = _model(wire, "inner"), _model(wire, "outer")

    def answer(state: Any) -> Any:
        message = inner_model.invoke("x")
        return Command(graph=Command.PARENT, update={"messages": [message]}, goto="check")

    def check(state: Any) -> Any:
        return {"messages": [outer_model.invoke("x")]}

    inner: Any = StateGraph(MessagesState)
    inner.add_node("answer", answer)
    inner.add_edge(START, "answer")
    graph: Any = StateGraph(MessagesState)
    graph.add_node("sub", inner.compile(name="inner"), destinations=("check",))
    graph.add_node("check", check)
    graph.add_edge(START, "sub")
    return graph.compile(name="outer")


@dataclass(frozen=True)
class Ending:
    """What a graph comes to: its runs by agent and status, its calls and tools by status."""

    graph: Callable[[Wire], Any]
    runs: dict[tuple[str, str], int]
    calls: dict[str, int]
    tools: dict[str, int]
    resumed: dict[tuple[str, str], int]
    """The runs of what goes on when somebody has answered; empty where nobody was asked."""


ENDINGS: dict[str, Ending] = {
    "an interrupt after a call": Ending(
        after_a_call,
        {("asker", "interrupted"): 1},
        {"success": 1},
        {},
        {("asker", "success"): 1},
    ),
    "an interrupt in a tool": Ending(
        in_a_tool,
        {("asker", "interrupted"): 1},
        {"success": 1},
        {"interrupted": 1},
        {("asker", "success"): 1},
    ),
    "an interrupt in a model": Ending(
        in_a_model,
        {("asker", "interrupted"): 1},
        {"interrupted": 1},
        {},
        {("asker", "success"): 1},
    ),
    "an interrupt in a graph inside": Ending(
        in_a_graph_inside,
        {("asker", "interrupted"): 1, ("outer", "interrupted"): 1},
        {"success": 1},
        {},
        {("asker", "success"): 1, ("outer", "success"): 1},
    ),
    "a command": Ending(a_command, {("asker", "success"): 1}, {"success": 2}, {}, {}),
    # To the graph inside a command to its parent is the end before its own.
    "a command to the parent": Ending(
        a_parent_command,
        {("inner", "interrupted"): 1, ("outer", "success"): 1},
        {"success": 2},
        {},
        {},
    ),
}
INTERRUPTED = [name for name, ending in ENDINGS.items() if ending.resumed]


class TestControlFlow:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_control_flow_is_no_error(
        self, ending: str, way: str, wire: Wire, recorder: MemoryRecorder, config: Any
    ) -> None:
        expected = ENDINGS[ending]
        await run(way, expected.graph(wire), TASK, config)
        assert runs(recorder) == expected.runs
        assert by(recorder, "llm_calls_total", "status") == expected.calls
        assert by(recorder, "tool_executions_total", "status") == expected.tools
        assert by(recorder, "llm_errors_total", "error_type") == {}
        if "interrupted" not in expected.calls:  # such a call never came to the wire
            equals_the_wire(recorder, wire)
        assert recorder.value("agentmetrics_handler_errors_total") == 0
        assert_settled(recorder)

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("ending", INTERRUPTED)
    async def test_control_flow_goes_on_as_a_run_of_its_own(
        self, ending: str, way: str, wire: Wire, recorder: MemoryRecorder, config: Any
    ) -> None:
        expected = ENDINGS[ending]
        graph = expected.graph(wire)
        await run(way, graph, TASK, config)
        await run(way, graph, Command(resume="yes"), config)
        assert runs(recorder) == {**expected.runs, **expected.resumed}
        assert recorder.value("llm_calls_total", status="success") == len(wire.calls)
        assert recorder.value("agentmetrics_handler_errors_total") == 0
        assert_settled(recorder)
