"""Ways in which people put agents together; each call says to the wire whose it is.

What a call says is known when the graph is written down, and never reaches the metrics.
"""

from __future__ import annotations

import asyncio
import contextvars
import operator
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, NamedTuple

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.func import entrypoint
from langgraph.func import task as functional_task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, Send
from openai import AsyncOpenAI, OpenAI

from agentmetrics import InstrumentedAgent, Recorder, track_call
from tests.integration.apps import traffic
from tests.services.wire import AGENT_HEADER, Answer, Wire

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-4-turbo")
"""One for each owner, so that no owner gets the answers scripted for another."""

Body = Callable[..., Any]


class Owner(NamedTuple):
    """Whose a call is: how that agent has its name, the name, and what runs then."""

    how: str
    name: str
    when: str = "in time"

    @classmethod
    def read(cls, text: str) -> Owner:
        """The owner whose ``str`` this is."""
        return cls(*text.split(":"))

    def __str__(self) -> str:
        return ":".join(self)


def told(name: str) -> Owner:
    """An agent whose name stands in the metadata: the user's, or that of ``create_agent``."""
    return Owner("told", name)


def own(name: str) -> Owner:
    """An ``InstrumentedAgent``."""
    return Owner("own", name)


def graph(name: str) -> Owner:
    """A graph that was compiled with this name."""
    return Owner("graph", name)


def node(name: str) -> Owner:
    """A node of a graph without a name, which is nobody's run."""
    return Owner("node", name)


def late(owner: Owner) -> Owner:
    """The same when its run is over."""
    return owner._replace(when="late")


def apart(owner: Owner) -> Owner:
    """The same in a run of its own when everything around is over."""
    return owner._replace(when="apart")


class Runs(NamedTuple):
    """How many runs of an agent there are, and how they end."""

    owner: Owner
    number: int = 1
    status: str = "success"


@dataclass(frozen=True)
class Topology:
    """A way of putting agents together, and the agent runs that come of it."""

    build: Callable[[Kit], Any]
    runs: tuple[Runs, ...]


TOPOLOGIES: dict[str, Topology] = {}


def topology(*runs: Runs) -> Callable[[Callable[[Kit], Any]], Callable[[Kit], Any]]:
    """Enter a function that makes something to be invoked."""

    def enter(build: Callable[[Kit], Any]) -> Callable[[Kit], Any]:
        TOPOLOGIES[build.__name__] = Topology(build, runs)
        return build

    return enter


def task_of(part: Any) -> Any:
    """What a part takes when it is invoked."""
    takes_messages = isinstance(part, Pregel | RunnableParallel)
    return {"messages": [("user", "x")]} if takes_messages else "x"


class _Part:
    """Something that is no runnable and is called like one."""

    def __init__(self, call: Body) -> None:
        self.invoke = self.ainvoke = call


@cache
def _model(address: str, owner: Owner, name: str) -> BaseChatModel:
    return traffic.openai(Wire(address), str(owner), name)


@dataclass
class Kit:
    """What topologies are made of, without an event loop; ``AsyncKit`` has the same with one."""

    wire: Wire
    recorder: Recorder
    """Where an ``InstrumentedAgent`` and ``track_call`` record."""
    tools: Counter[tuple[Owner, str]] = field(default_factory=Counter)
    """Executions, counted by the tools themselves."""
    queries: Counter[tuple[Owner, str]] = field(default_factory=Counter)
    """Queries, counted by the retrievers themselves."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set when what was started in the background may go on."""
    background: list[Any] = field(default_factory=list)
    """Threads or tasks that were started and not yet waited for."""
    _names: dict[Owner, str] = field(default_factory=dict)

    # What asks a model

    def _name(self, owner: Owner) -> str:
        if owner not in self._names:
            self._names[owner] = MODELS[len(self._names)]
        return self._names[owner]

    def model(self, owner: Owner) -> BaseChatModel:
        """A model whose calls are the owner's."""
        return _model(self.wire.address, owner, self._name(owner))

    def asks(self, owner: Owner, *tools: str) -> None:
        """The tools that the owner's next calls ask for, call by call; ``""`` for none."""
        for names in tools:
            asked: Any = tuple((name, {}) for name in names.split())
            self.wire.script(self._name(owner), Answer(tools=asked))

    def agent(self, owner: Owner, *tools: BaseTool) -> Any:
        """LangChain's agent, with the owner's name."""
        return create_agent(self.model(owner), list(tools), name=owner.name)

    def unnamed_agent(self, owner: Owner, *tools: BaseTool) -> Any:
        """LangChain's agent without a name."""
        return create_agent(self.model(owner), list(tools))

    def before_model(self, call: Body) -> AgentMiddleware:
        """Middleware that calls this before each call of its agent's model."""

        class Before(AgentMiddleware):
            def before_model(self, *_: Any) -> None:
                call()

        return Before()

    def graph(self, name: str | None = None, **nodes: Any) -> Any:
        """A graph of these nodes, one after the other."""
        builder = StateGraph(MessagesState)
        builder.add_sequence(list(nodes.items()))
        builder.add_edge(START, next(iter(nodes)))
        return builder.compile(name=name)

    def fan(self, name: str, width: int, each: Body, last: Body) -> Any:
        """A graph that sends so many to one node at once, and then goes to the last."""
        builder = StateGraph(_Parts)
        builder.add_node("each", each)
        builder.add_node("last", last)
        sends = [Send("each", {"parts": [number]}) for number in range(width)]
        builder.add_conditional_edges(START, lambda _: sends, ["each"])
        builder.add_edge("each", "last")
        return builder.compile(name=name)

    def client_call(self, owner: Owner) -> Any:
        """A call with the provider's own client, and ``track_call`` around it."""

        def call(_: Any) -> None:
            with (
                OpenAI(**self._client(owner)) as client,
                track_call("openai", self._name(owner), recorder=self.recorder) as tracked,
            ):
                tracked.record_response(client.chat.completions.create(**self._question(owner)))

        return _Part(call)

    def _client(self, owner: Owner) -> dict[str, Any]:
        headers = {AGENT_HEADER: str(owner)}
        return {"base_url": f"{self.wire.url}/v1", "api_key": "none", "default_headers": headers}

    def _question(self, owner: Owner) -> dict[str, Any]:
        return {"model": self._name(owner), "messages": [{"role": "user", "content": "x"}]}

    # What is inside of nodes, tools, agents and retrievers

    def body(self, *parts: Any) -> Body:
        """A function that invokes these one after the other."""

        def body(*_: Any) -> dict[str, Any]:
            for part in parts:
                part.invoke(task_of(part))
            return {"messages": []}

        return body

    def at_once(self, *parts: Any) -> Body:
        """A function that invokes these side by side."""

        def body(*_: Any) -> dict[str, Any]:
            with ThreadPoolExecutor(len(parts)) as pool:
                for part in parts:
                    pool.submit(contextvars.copy_context().run, part.invoke, task_of(part))
            return {"messages": []}

        return body

    def in_background(self, *parts: Any) -> Body:
        """A function that lets these be invoked when everything around it is over."""

        def when_released() -> None:
            self.released.wait(20)
            self.body(*parts)()

        def body(*_: Any) -> dict[str, Any]:
            run = contextvars.copy_context().run
            thread = threading.Thread(target=run, args=(when_released,))
            thread.start()
            self.background.append(thread)
            return {"messages": []}

        return body

    def finish(self) -> None:
        """Let the background go on, and wait for it."""
        self.released.set()
        while self.background:
            self.background.pop().join(20)

    def tool(self, owner: Owner, name: str, *parts: Any) -> BaseTool:
        """A tool of the owner that invokes these."""
        return self.tool_of(owner, name, self.body(*parts))

    def tool_of(self, owner: Owner, name: str, body: Body) -> BaseTool:
        """A tool of the owner with this body."""

        def function() -> str:
            """Do it."""
            self.tools[owner, name] += 1
            body()
            return "done"

        return StructuredTool.from_function(function, name=name)

    def hand_over(self, owner: Owner, to: str) -> BaseTool:
        """A tool of the owner that goes on with another node of the graph around."""
        name = f"to_{to}"

        def function() -> Any:
            """Hand over."""
            self.tools[owner, name] += 1
            return Command(goto=to, graph=Command.PARENT)

        return StructuredTool.from_function(function, name=name)

    def instrumented(self, owner: Owner, *parts: Any) -> Any:
        """An ``InstrumentedAgent`` that invokes these."""
        body = self.body(*parts)

        class Agent(InstrumentedAgent):
            agent_name = owner.name
            recorder = self.recorder

            def invoke(self, task: Any, config: Any = None) -> Any:
                return body()

            def stream(self, task: Any, config: Any = None) -> Iterator[Any]:
                yield body()

        return Agent()

    def retriever(self, owner: Owner, *parts: Any) -> BaseRetriever:
        """A retriever of the owner that invokes these."""
        body, queries = self.body(*parts), self.queries

        class Shelf(BaseRetriever):
            def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
                queries[owner, "Shelf"] += 1
                body()
                return [Document("a"), Document("b")]

        return Shelf()

    def workflow(self, tasks: Body, after: Body) -> Any:
        """The functional API: three of a task side by side, and then the rest."""
        step: Any = functional_task(name="step")(tasks)

        @entrypoint()
        def workflow(_: Any) -> str:
            for future in [step(number) for number in range(3)]:
                future.result()
            after()
            return "done"

        return workflow


class _Parts(MessagesState):
    """Messages, and what was sent to which."""

    parts: Annotated[list[int], operator.add]


@dataclass
class AsyncKit(Kit):
    """What topologies are made of, on an event loop."""

    def client_call(self, owner: Owner) -> Any:
        async def call(_: Any) -> None:
            async with (
                AsyncOpenAI(**self._client(owner)) as client,
                track_call("openai", self._name(owner), recorder=self.recorder) as tracked,
            ):
                question = self._question(owner)
                tracked.record_response(await client.chat.completions.create(**question))

        return _Part(call)

    def body(self, *parts: Any) -> Body:
        async def body(*_: Any) -> dict[str, Any]:
            for part in parts:
                await part.ainvoke(task_of(part))
            return {"messages": []}

        return body

    def before_model(self, call: Body) -> AgentMiddleware:
        class Before(AgentMiddleware):
            async def abefore_model(self, *_: Any) -> None:
                await call()

        return Before()

    def at_once(self, *parts: Any) -> Body:
        async def body(*_: Any) -> dict[str, Any]:
            await asyncio.gather(*(part.ainvoke(task_of(part)) for part in parts))
            return {"messages": []}

        return body

    def in_background(self, *parts: Any) -> Body:
        async def when_released() -> None:
            while not self.released.is_set():
                await asyncio.sleep(0.005)
            await self.body(*parts)()

        async def body(*_: Any) -> dict[str, Any]:
            self.background.append(asyncio.create_task(when_released()))
            return {"messages": []}

        return body

    async def afinish(self) -> None:
        """Let the background go on, and wait for it."""
        self.released.set()
        while self.background:
            await self.background.pop()

    def tool_of(self, owner: Owner, name: str, body: Body) -> BaseTool:
        async def function() -> str:
            """Do it."""
            self.tools[owner, name] += 1
            await body()
            return "done"

        return StructuredTool.from_function(coroutine=function, name=name)

    def instrumented(self, owner: Owner, *parts: Any) -> Any:
        body = self.body(*parts)

        class Agent(InstrumentedAgent):
            agent_name = owner.name
            recorder = self.recorder

            async def ainvoke(self, task: Any, config: Any = None) -> Any:
                return await body()

            async def astream(self, task: Any, config: Any = None) -> Any:
                yield await body()

        return Agent()

    def retriever(self, owner: Owner, *parts: Any) -> BaseRetriever:
        body, queries = self.body(*parts), self.queries

        class Shelf(BaseRetriever):
            def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
                raise NotImplementedError

            async def _aget_relevant_documents(self, query: str, **_: Any) -> list[Document]:
                queries[owner, "Shelf"] += 1
                await body()
                return [Document("a"), Document("b")]

        return Shelf()

    def workflow(self, tasks: Body, after: Body) -> Any:
        step: Any = functional_task(name="step")(tasks)

        @entrypoint()
        async def workflow(_: Any) -> str:
            await asyncio.gather(*(step(number) for number in range(3)))
            await after()
            return "done"

        return workflow


# LangChain's agent


@topology(Runs(told("planner")))
def a_named_agent(kit: Kit) -> Any:
    planner = told("planner")
    kit.asks(planner, "add divide add", "add")
    return kit.agent(planner, kit.tool(planner, "add"), kit.tool(planner, "divide"))


@topology(Runs(graph("unknown")))
def an_unnamed_agent(kit: Kit) -> Any:
    unknown = graph("unknown")
    kit.asks(unknown, "add")
    model = kit.model(unknown)
    middleware = kit.before_model(kit.body(model))
    return create_agent(model, [kit.tool(unknown, "add")], middleware=[middleware])


@topology(Runs(graph("unknown")), Runs(told("inner")))
def an_agent_as_tool_of_an_unnamed_one(kit: Kit) -> Any:
    unknown, inner = graph("unknown"), told("inner")
    kit.asks(unknown, "ask", "look")  # the second is the other unnamed agent's first
    other = kit.unnamed_agent(unknown, kit.tool(unknown, "look"))
    return kit.unnamed_agent(unknown, kit.tool(unknown, "ask", other, kit.agent(inner)))


@topology(Runs(graph("plan"), 2), Runs(graph("write")))
def unnamed_agents_in_an_unnamed_graph(kit: Kit) -> Any:
    plan, write = graph("plan"), graph("write")
    kit.asks(plan, "look")
    agent = kit.unnamed_agent(plan, kit.tool(plan, "look"))
    around = kit.model(node("plan"))
    body = kit.body(around, agent, agent, around)
    return kit.graph(plan=body, write=kit.unnamed_agent(write))


@topology(Runs(graph("desk")))
def unnamed_agents_in_a_named_graph(kit: Kit) -> Any:
    desk = graph("desk")
    kit.asks(desk, "look", "", "look")
    agent = kit.unnamed_agent(desk, kit.tool(desk, "look"))
    return kit.graph("desk", plan=agent, write=kit.body(agent))


@topology()
def a_hand_written_agent_without_a_name(kit: Kit) -> Any:
    unknown = node("unknown")
    return kit.graph(model=kit.body(kit.model(unknown)), tools=kit.body(kit.model(unknown)))


@topology(Runs(told("outer")), Runs(told("inner"), 2))
def an_agent_as_tool(kit: Kit) -> Any:
    outer, inner = told("outer"), told("inner")
    kit.asks(outer, "ask ask")
    return kit.agent(outer, kit.tool(outer, "ask", kit.agent(inner)))


@topology(Runs(told("outer")))
def an_unnamed_agent_as_tool(kit: Kit) -> Any:
    outer = told("outer")
    kit.asks(outer, "ask", "look")  # the second is the inner's first
    inner = kit.unnamed_agent(outer, kit.tool(outer, "look"))
    return kit.agent(outer, kit.tool(outer, "ask", inner))


@topology(Runs(told("first")), Runs(told("second")), Runs(told("third")))
def agent_tool_agent_tool_agent(kit: Kit) -> Any:
    first, second, third = told("first"), told("second"), told("third")
    kit.asks(first, "ask_second")
    kit.asks(second, "ask_third")
    kit.asks(third, "look")
    ask_third = kit.tool(second, "ask_third", kit.agent(third, kit.tool(third, "look")))
    ask_second = kit.tool(first, "ask_second", kit.agent(second, ask_third))
    return kit.agent(first, ask_second)


@topology(Runs(told("planner"), 3))
def an_agent_that_asks_itself(kit: Kit) -> Any:
    planner = told("planner")
    kit.asks(planner, "ask", "ask")

    async def ainvoke(_: Any) -> Any:
        return await agent.ainvoke(task_of(agent))

    itself = _Part(lambda _: agent.invoke(task_of(agent)))
    itself.ainvoke = ainvoke
    agent = kit.agent(planner, kit.tool(planner, "ask", itself))
    return agent


@topology(Runs(told("alice"), 2), Runs(told("bob")))
def two_agents_that_ask_each_other(kit: Kit) -> Any:
    alice, bob = told("alice"), told("bob")
    kit.asks(alice, "ask_bob")
    kit.asks(bob, "ask_alice")
    ask_alice = kit.tool(bob, "ask_alice", kit.agent(alice))
    return kit.agent(alice, kit.tool(alice, "ask_bob", kit.agent(bob, ask_alice)))


@topology(Runs(told("analyst")))
def a_chain_in_a_tool(kit: Kit) -> Any:
    analyst = told("analyst")
    kit.asks(analyst, "analyse")
    chain = RunnableLambda(str) | kit.model(analyst) | RunnableLambda(str)
    return kit.agent(analyst, kit.tool(analyst, "analyse", chain))


@topology(Runs(told("librarian")))
def a_retriever_in_a_tool(kit: Kit) -> Any:
    librarian = told("librarian")
    kit.asks(librarian, "search")
    shelf = kit.retriever(librarian, kit.model(librarian))
    return kit.agent(librarian, kit.tool(librarian, "search", shelf))


@topology(Runs(told("alice")), Runs(told("bob")))
def two_agents_side_by_side(kit: Kit) -> Any:
    alice, bob = told("alice"), told("bob")
    kit.asks(alice, "look")
    kit.asks(bob, "look look")
    return RunnableParallel(
        one=kit.agent(alice, kit.tool(alice, "look")),
        other=kit.agent(bob, kit.tool(bob, "look")),
    )


@topology(Runs(told("chosen")), Runs(told("planner")), Runs(graph("desk")))
def an_agent_with_another_name_in_its_metadata(kit: Kit) -> Any:
    chosen, planner = told("chosen"), told("planner")
    kit.asks(chosen, "look")
    agent = create_agent(kit.model(chosen), [kit.tool(chosen, "look")], name="planner")
    renamed = agent.with_config(metadata={"agent_name": "chosen"})
    return kit.graph("desk", renamed=kit.body(renamed), plain=kit.body(kit.agent(planner)))


# Graphs


@topology(Runs(graph("desk")), Runs(told("alice"), 2), Runs(told("bob")))
def two_agents_in_one_node(kit: Kit) -> Any:
    alice, bob, desk = told("alice"), told("bob"), graph("desk")
    parts = kit.agent(alice), kit.agent(bob), kit.model(desk), kit.agent(alice)
    return kit.graph("desk", talk=kit.body(*parts))


@topology(Runs(graph("desk")), Runs(told("alice"), 2), Runs(told("bob")))
def two_agents_at_once_in_one_node(kit: Kit) -> Any:
    alice, bob, desk = told("alice"), told("bob"), graph("desk")
    parts = kit.agent(alice), kit.agent(bob), kit.model(desk), kit.agent(alice)
    return kit.graph("desk", talk=kit.at_once(*parts))


@topology(
    Runs(graph("office")),
    Runs(told("supervisor"), 2, "interrupted"),
    Runs(told("supervisor")),
    Runs(told("writer")),
    Runs(told("critic")),
)
def a_supervisor(kit: Kit) -> Any:
    boss, writer, critic = told("supervisor"), told("writer"), told("critic")
    kit.asks(boss, "to_writer", "to_critic")
    kit.asks(writer, "write")
    builder = StateGraph(MessagesState)
    tools = kit.hand_over(boss, "writer"), kit.hand_over(boss, "critic")
    builder.add_node("supervisor", kit.agent(boss, *tools), destinations=("writer", "critic"))
    builder.add_node("writer", kit.agent(writer, kit.tool(writer, "write")))
    builder.add_node("critic", kit.agent(critic))
    builder.add_edge(START, "supervisor")
    builder.add_edge("writer", "supervisor")
    builder.add_edge("critic", "supervisor")
    return builder.compile(name="office")


@topology(
    Runs(told("alice"), 1, "interrupted"), Runs(told("alice")), Runs(told("bob"), 1, "interrupted")
)
def a_swarm(kit: Kit) -> Any:
    alice, bob = told("alice"), told("bob")
    kit.asks(alice, "to_bob")
    kit.asks(bob, "to_alice")
    builder = StateGraph(MessagesState)
    to_bob, to_alice = kit.hand_over(alice, "bob"), kit.hand_over(bob, "alice")
    builder.add_node("alice", kit.agent(alice, to_bob), destinations=("bob",))
    builder.add_node("bob", kit.agent(bob, to_alice), destinations=("alice",))
    builder.add_edge(START, "alice")
    return builder.compile()


@topology(Runs(graph("desk")), Runs(graph("writer")))
def a_named_graph_as_a_node(kit: Kit) -> Any:
    desk, writer = graph("desk"), graph("writer")
    write = kit.body(kit.model(writer))
    inner = kit.graph("writer", draft=write, edit=write)
    call = kit.body(kit.model(desk))
    return kit.graph("desk", before=call, writing=inner, after=call)


@topology(Runs(graph("desk")))
def an_unnamed_graph_as_a_node(kit: Kit) -> Any:
    call = kit.body(kit.model(graph("desk")))
    return kit.graph("desk", before=call, writing=kit.graph(draft=call, edit=call), after=call)


@topology(Runs(graph("writer"), 2))
def a_named_graph_inside_itself(kit: Kit) -> Any:
    model = kit.model(graph("writer"))
    inner = kit.graph("writer", write=kit.body(model))
    return kit.graph("writer", write=kit.body(model, inner, model))


@topology()
def named_nodes_of_an_unnamed_graph(kit: Kit) -> Any:
    plan, write = kit.model(node("plan")), kit.model(node("write"))
    return kit.graph(plan=kit.body(plan, plan), write=kit.body(write))


@topology(Runs(graph("fan")))
def one_node_many_times_at_once(kit: Kit) -> Any:
    model = kit.model(graph("fan"))
    return kit.fan("fan", 5, each=kit.body(model, model), last=kit.body(model))


@topology(Runs(graph("summary")), Runs(told("mapper"), 4))
def map_and_reduce_with_an_agent(kit: Kit) -> Any:
    mapper = told("mapper")
    kit.asks(mapper, *["look"] * 4)
    agent = kit.agent(mapper, kit.tool(mapper, "look"))
    reduce = kit.body(kit.model(graph("summary")))
    return kit.fan("summary", 4, each=kit.body(agent), last=reduce)


@topology(Runs(graph("workflow")), Runs(told("planner")))
def the_functional_api(kit: Kit) -> Any:
    workflow, planner = graph("workflow"), told("planner")
    kit.asks(planner, "look")
    unnamed = kit.unnamed_agent(workflow)
    after = kit.body(kit.model(workflow), kit.agent(planner, kit.tool(planner, "look")))
    return kit.workflow(tasks=kit.body(kit.model(workflow), unnamed), after=after)


@topology(Runs(graph("workflow"), 2))
def a_workflow_in_a_workflow(kit: Kit) -> Any:
    model = kit.model(graph("workflow"))
    inner = kit.workflow(tasks=kit.body(model), after=kit.body(model))
    return kit.workflow(tasks=kit.body(model), after=kit.body(inner, model))


@topology(Runs(graph("workflow")))
def a_task_that_goes_on_in_the_background(kit: Kit) -> Any:
    workflow = graph("workflow")
    start = kit.in_background(kit.model(late(workflow)), kit.unnamed_agent(late(workflow)))
    return kit.workflow(tasks=start, after=kit.body(kit.model(workflow)))


@topology(Runs(graph("desk")))
def a_batch_and_a_parallel_chain_in_a_node(kit: Kit) -> Any:
    model = kit.model(graph("desk"))
    return kit.graph("desk", work=kit.body(RunnableLambda(str) | {"one": model, "two": model}))


# InstrumentedAgent


@topology(Runs(own("lead")), Runs(own("reviewer"), 2))
def an_instrumented_agent_that_calls_another(kit: Kit) -> Any:
    lead, reviewer = own("lead"), own("reviewer")
    inner = kit.instrumented(reviewer, kit.model(reviewer), kit.client_call(reviewer))
    return kit.instrumented(lead, kit.model(lead), inner, kit.client_call(lead), inner)


@topology(Runs(own("lead")), Runs(told("planner")))
def agents_and_graphs_in_an_instrumented_agent(kit: Kit) -> Any:
    lead, planner = own("lead"), told("planner")
    kit.asks(planner, "look")
    call = kit.body(kit.model(lead))
    agent = kit.agent(planner, kit.tool(planner, "look"))
    graphs = kit.graph("writer", write=call), kit.graph(write=call)
    return kit.instrumented(lead, agent, kit.model(lead), *graphs)


@topology(Runs(own("planner")))
def an_instrumented_agent_around_its_namesake(kit: Kit) -> Any:
    planner = told("planner")
    kit.asks(planner, "look")
    return kit.instrumented(own("planner"), kit.agent(planner, kit.tool(planner, "look")))


@topology(Runs(told("planner")), Runs(own("reviewer")))
def an_instrumented_agent_in_a_tool(kit: Kit) -> Any:
    planner, reviewer = told("planner"), own("reviewer")
    kit.asks(planner, "review")
    chain = RunnableLambda(str) | kit.model(reviewer)
    write = kit.graph("writer", write=kit.body(kit.model(reviewer)))
    parts = kit.model(reviewer), chain, write, kit.client_call(reviewer)
    inner = kit.instrumented(reviewer, *parts)
    return kit.agent(planner, kit.tool(planner, "review", inner))


@topology(Runs(graph("desk")), Runs(own("reviewer")))
def an_instrumented_agent_in_a_node(kit: Kit) -> Any:
    desk, reviewer = graph("desk"), own("reviewer")
    inner = kit.instrumented(
        reviewer, kit.model(reviewer), RunnableLambda(str) | kit.model(reviewer)
    )
    return kit.graph("desk", work=kit.body(kit.model(desk), inner, kit.model(desk)))


@topology(Runs(told("planner"), 2), Runs(own("reviewer")))
def an_instrumented_agent_between_two_of_one_name(kit: Kit) -> Any:
    planner, reviewer = told("planner"), own("reviewer")
    kit.asks(planner, "review")
    inner = kit.instrumented(reviewer, kit.model(reviewer), kit.agent(planner))
    return kit.agent(planner, kit.tool(planner, "review", inner))


# Calls outside of LangChain, and calls that outlive what started them


@topology(Runs(graph("desk")), Runs(told("planner")))
def the_providers_own_client_in_a_tool_and_a_node(kit: Kit) -> Any:
    planner, desk = told("planner"), graph("desk")
    kit.asks(planner, "ask")
    agent = kit.agent(planner, kit.tool(planner, "ask", kit.client_call(planner)))
    return kit.graph("desk", plan=kit.body(agent), ask=kit.body(kit.client_call(desk)))


@topology(Runs(graph("host")), Runs(told("errand")))
def a_graph_in_the_background_of_a_graph(kit: Kit) -> Any:
    host, errand = graph("host"), apart(told("errand"))
    kit.asks(errand, "look")
    model = kit.model(late(host))
    chain = RunnableLambda(str) | model
    unnamed = kit.graph(write=kit.body(model))
    agent = kit.agent(errand, kit.tool(errand, "look"))
    start = kit.in_background(model, chain, unnamed, agent, kit.client_call(late(host)))
    return kit.graph("host", start=start, go_on=kit.body(kit.model(host)))


@topology(Runs(told("planner"), 2), Runs(own("reviewer")))
def a_graph_in_the_background_of_an_agent(kit: Kit) -> Any:
    planner, reviewer = told("planner"), apart(own("reviewer"))
    kit.asks(planner, "start")
    inner = kit.instrumented(reviewer, kit.model(reviewer))
    again = kit.agent(apart(planner))
    parts = kit.model(late(planner)), inner, kit.client_call(late(planner)), again
    return kit.agent(planner, kit.tool_of(planner, "start", kit.in_background(*parts)))
