"""A graph on a LangGraph server: its runs, and the calls whose answers come back, once each."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteException
from langgraph.types import Command, interrupt
from langgraph_sdk.errors import NotFoundError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import agentmetrics
from agentmetrics import InstrumentedRemoteGraph, MemoryRecorder, track_run
from agentmetrics.pipeline import Options, pipeline_of
from tests.integration.apps import traffic
from tests.integration.test_topologies import nothing_is_left
from tests.services.langgraph_server import serving_graphs
from tests.services.wire import NO_KEEP_ALIVE, Wire, serving
from tests.unit.scripted import by, runs

pytestmark = pytest.mark.asyncio_alone

MODES: list[Any] = ["values", "updates", "messages", ["values", "messages", "updates"]]


def asks(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


def on_a_thread() -> Any:
    return {"configurable": {"thread_id": str(uuid4())}}


@pytest.fixture(scope="module")
def url(_wire: Wire) -> Iterator[str]:
    """A server with two graphs.

    ``planner`` calls a model, may stop or fail, and calls an agent's model. ``keeper`` calls a
    model and gives its answer to an agent that remembers what it was given.
    """
    model = traffic.openai(Wire(_wire.address), "planner", "gpt-4o-mini")  # of every test

    def write(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    def look(state: MessagesState) -> Any:
        asked = [m for m in state["messages"] if m.type == "human"][-1].content
        if "stop" in asked:
            interrupt("?")
        if "fail" in asked:
            raise LookupError
        return {"messages": [("ai", "of no model")]}

    builder = StateGraph(MessagesState)
    steps: list[Any] = [("write", write), ("look", look), ("check", create_agent(model, []))]
    builder.add_sequence(steps)
    builder.add_edge(START, "write")
    planner = builder.compile(InMemorySaver())

    remembering = create_agent(model, [], checkpointer=True)

    def remember(state: MessagesState) -> Any:
        answer = model.invoke(state["messages"])
        remembering.invoke({"messages": [answer]})
        return {"messages": [answer]}

    builder = StateGraph(MessagesState)
    builder.add_node("remember", remember)
    builder.add_edge(START, "remember")
    keeper = builder.compile(InMemorySaver())
    with serving_graphs({"planner": planner, "keeper": keeper}) as url:
        yield url


@pytest.fixture
def remote(url: str, wire: Wire, recorder: MemoryRecorder) -> Any:
    return InstrumentedRemoteGraph("planner", url=url, recorder=recorder)


def equals_the_wire(recorder: MemoryRecorder, wire: Wire, calls: int) -> None:
    """Calls, tokens and cost are the remote agent's, and what the wire counted."""
    tokens, costs = Counter[str](), 0.0
    for (*_, kind), count in traffic.tokens(wire).items():
        tokens[kind] += count
    for cost in traffic.costs(wire).values():
        costs += cost
    assert by(recorder, "llm_calls_total", "agent_name", "provider", "status") == {
        ("planner", "openai", "success"): calls
    }
    assert len(wire.calls) == calls
    assert by(recorder, "llm_tokens_total", "token_type") == tokens
    assert recorder.value("llm_cost_usd_total") == pytest.approx(costs, rel=1e-9)
    assert recorder.histogram("agent_run_llm_calls", agent_name="planner").sum == calls
    nothing_is_left(recorder)


class TestARemoteGraph:
    def test_each_answer_that_comes_back_is_a_call_of_the_graph(
        self, remote: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        answer = remote.invoke(asks("x"))
        assert [message["type"] for message in answer["messages"]] == ["human", "ai", "ai", "ai"]
        equals_the_wire(recorder, wire, 2)
        assert runs(recorder) == {("planner", "success"): 1}
        assert recorder.histogram("llm_latency_seconds").count == 0  # nobody has told it

    @pytest.mark.parametrize("subgraphs", [False, True])
    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_what_was_on_the_thread_before_is_not_counted_again(
        self, remote: Any, mode: Any, subgraphs: bool, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        thread = on_a_thread()
        for _ in range(3):
            parts = list(remote.stream(asks("x"), thread, stream_mode=mode, subgraphs=subgraphs))
            assert parts
        equals_the_wire(recorder, wire, 6)
        assert runs(recorder) == {("planner", "success"): 3}

    def test_what_a_graph_in_the_remote_one_is_given_or_remembers_is_not_counted_again(
        self, url: str, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        remote: Any = InstrumentedRemoteGraph("keeper", url=url, name="planner", recorder=recorder)
        thread = on_a_thread()
        for _ in range(3):
            assert list(remote.stream(asks("x"), thread, subgraphs=True))
        equals_the_wire(recorder, wire, 6)

    def test_what_is_asked_for_in_addition_is_not_passed_on(self, remote: Any) -> None:
        parts = list(remote.stream(asks("x"), on_a_thread(), stream_mode=["updates"]))
        assert {part.event for part in parts} == {"updates"}

    @pytest.mark.anyio
    @pytest.mark.parametrize("mode", MODES, ids=str)
    async def test_a_remote_graph_on_an_event_loop_is_the_same(
        self, remote: Any, mode: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        thread = on_a_thread()
        await remote.ainvoke(asks("x"), thread)
        copy = remote.with_config(tags=["a copy"])
        assert [part async for part in copy.astream(asks("x"), thread, stream_mode=mode)]
        equals_the_wire(recorder, wire, 4)
        assert runs(recorder) == {("planner", "success"): 2}

    def test_a_history_in_the_input_is_not_counted_again(
        self, remote: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        before = remote.invoke(asks("x"))["messages"]
        list(remote.stream({"messages": [*before, *asks("y")["messages"]]}))
        equals_the_wire(recorder, wire, 4)

    def test_a_run_that_is_interrupted_is_one_and_the_resumed_is_another(
        self, remote: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        thread = on_a_thread()
        remote.invoke(asks("stop"), thread)
        remote.invoke(Command(resume="yes"), thread)
        equals_the_wire(recorder, wire, 2)
        assert runs(recorder) == {("planner", "interrupted"): 1, ("planner", "success"): 1}

    def test_a_run_that_fails_has_the_calls_that_were_made(
        self, remote: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        with pytest.raises(RemoteException):
            remote.invoke(asks("fail"))
        equals_the_wire(recorder, wire, 1)
        assert runs(recorder) == {("planner", "error"): 1}

    def test_a_server_that_refuses_is_a_failed_run(self, recorder: MemoryRecorder) -> None:
        with serving(Starlette()) as url:
            remote: Any = InstrumentedRemoteGraph("planner", url=url, recorder=recorder)
            with pytest.raises(NotFoundError):
                remote.invoke(asks("x"))
            remote.sync_client.close()
        assert runs(recorder) == {("planner", "error"): 1}
        nothing_is_left(recorder)

    def test_a_stream_that_is_closed_early_is_a_cancelled_run(
        self, remote: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        stream = remote.stream(asks("x"), stream_mode="updates")
        next(stream)
        stream.close()
        assert runs(recorder) == {("planner", "cancelled"): 1}
        assert recorder.value("llm_calls_total") == 1
        nothing_is_left(recorder)
        wire.settled()

    @pytest.mark.anyio
    async def test_a_stream_on_an_event_loop_that_is_closed_early_is_a_cancelled_run(
        self, remote: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        stream = remote.astream(asks("x"), stream_mode="updates")
        await anext(stream)
        await stream.aclose()
        await traffic.until(lambda: runs(recorder) == {("planner", "cancelled"): 1})
        nothing_is_left(recorder)
        await asyncio.to_thread(wire.settled)

    def test_a_remote_graph_has_the_name_and_the_labels_that_it_is_given(
        self, url: str, wire: Wire
    ) -> None:
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(extra_labels=("tenant",)))
        remote = InstrumentedRemoteGraph("keeper", url=url, name="planner", recorder=recorder)
        with agentmetrics.labels(tenant="acme"):
            remote.invoke(asks("x"))
        assert by(recorder, "llm_calls_total", "agent_name", "tenant") == {("planner", "acme"): 1}
        assert by(recorder, "agent_runs_total", "agent_name", "tenant") == {("planner", "acme"): 1}


class TestInsideOfOthers:
    @pytest.fixture
    def desk(self, remote: Any) -> Any:
        """A local graph with the remote one as its only node."""
        builder = StateGraph(MessagesState)
        builder.add_node("ask", remote)
        builder.add_edge(START, "ask")
        return builder.compile(name="desk")

    def test_a_remote_graph_in_a_local_one_is_an_agent_of_its_own(
        self, desk: Any, config: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        before = desk.invoke(asks("x"), config)["messages"]
        desk.invoke({"messages": [*before, ("user", "y")]}, config)
        assert list(desk.stream(asks("x"), config, stream_mode=["messages"], subgraphs=True))
        equals_the_wire(recorder, wire, 6)
        assert runs(recorder) == {("desk", "success"): 3, ("planner", "success"): 3}
        assert recorder.histogram("agent_run_llm_calls", agent_name="desk").sum == 0

    @pytest.mark.anyio
    async def test_a_remote_graph_in_a_local_one_on_an_event_loop_is_an_agent_of_its_own(
        self, desk: Any, config: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        await desk.ainvoke(asks("x"), config)
        equals_the_wire(recorder, wire, 2)
        assert runs(recorder) == {("desk", "success"): 1, ("planner", "success"): 1}

    def test_a_remote_graph_that_stops_in_a_local_one_interrupts_both(
        self, desk: Any, config: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        desk.invoke(asks("stop"), config)
        equals_the_wire(recorder, wire, 1)
        assert runs(recorder) == {("desk", "interrupted"): 1, ("planner", "interrupted"): 1}

    def test_a_remote_graph_in_a_tracked_run_is_an_agent_of_its_own(
        self, remote: Any, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        with track_run("around", recorder=recorder):
            remote.invoke(asks("x"))
        equals_the_wire(recorder, wire, 2)
        assert runs(recorder) == {("around", "success"): 1, ("planner", "success"): 1}


AI = {"type": "ai", "content": "x"}
ODD: list[tuple[Any, int, int]] = [
    # an update, how many calls it tells of, and how much of it is not understood
    (None, 0, 0),
    ("text", 0, 0),
    ({"__interrupt__": []}, 0, 0),
    ({"a": {"messages": [AI, {**AI, "response_metadata": {}}]}}, 0, 0),
    ({"a": {**AI, "response_metadata": {"model_name": "m"}}}, 1, 0),
    ({"a": [[{**AI, "usage_metadata": "many"}]]}, 1, 1),
    ({"a": {**AI, "id": 7, "usage_metadata": {"input_tokens": -1, "output_tokens": 2}}}, 1, 1),
    ({"a": {**AI, "response_metadata": [1], "usage_metadata": {}}}, 0, 1),
]


@pytest.mark.parametrize(("data", "calls", "errors"), ODD)
def test_what_a_server_sends_that_cannot_be_is_counted_and_passed_on(
    data: Any, calls: int, errors: int, recorder: MemoryRecorder
) -> None:
    body = f"event: updates\r\ndata: {json.dumps(data)}\r\n\r\n"

    def run(_: Request) -> Response:
        return Response(body, 200, NO_KEEP_ALIVE, "text/event-stream")

    routes = [Route("/runs/stream", run, methods=["POST"])]
    with serving(Starlette(routes=routes)) as url:
        remote = InstrumentedRemoteGraph("planner", url=url, recorder=recorder)
        assert list(remote.stream(asks("x"))) == [data]
    assert recorder.value("llm_calls_total") == calls
    assert recorder.value("agentmetrics_handler_errors_total") == errors
    assert recorder.value("agent_runs_total") == 1
