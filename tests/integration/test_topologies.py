"""Every way to put agents together: each call with the right agent, and none with nobody.

What is right is what the wire counted: each call says to the wire whose it is.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.pregel import Pregel

from agentmetrics import (
    InstrumentedAgent,
    MemoryRecorder,
    MetricsCallbackHandler,
    Recorder,
    instrument,
)
from agentmetrics.pipeline import pipeline_of
from tests.integration.apps import traffic
from tests.integration.apps.topologies import TOPOLOGIES, AsyncKit, Kit, Owner, Topology, task_of
from tests.services.wire import Wire

pytestmark = [pytest.mark.asyncio_alone, pytest.mark.usefixtures("only_our_objects")]

TOKEN_BY_TOKEN: Any = {"stream_mode": ["messages", "updates"], "subgraphs": True}
IN_FLIGHT = (
    "llm_active_calls",
    "agent_active_runs",
    "tool_executions_active",
    "agentmetrics_open_runs",
)


@pytest.fixture(params=TOPOLOGIES.values(), ids=list(TOPOLOGIES))
def topology(request: pytest.FixtureRequest) -> Topology:
    found: Topology = request.param
    return found


# Ways to attach


class Passed:
    """The handler in ``callbacks``."""

    def __init__(self, recorder: MemoryRecorder) -> None:
        self.config: Any = {"callbacks": [self.handler(recorder)]}

    def handler(self, recorder: MemoryRecorder) -> MetricsCallbackHandler:
        return MetricsCallbackHandler(recorder)

    def around(self, root: Any) -> Any:
        """What is invoked in the topology's stead."""
        return root

    def agent(self, owner: Owner) -> str:
        """Who a call of this owner is to be put down to."""
        return owner.name

    def in_a_run(self, owner: Owner) -> bool:
        """Whether a call of this owner is to be in the totals of a run."""
        return owner.how != "node" and owner.when != "late"

    def runs(self, topology: Topology) -> Counter[tuple[str, str]]:
        """The runs there are to be, by agent and status."""
        return Counter({(runs.owner.name, runs.status): runs.number for runs in topology.runs})


class Hooked(Passed):
    """``instrument()``, and nothing passed."""

    def __init__(self, recorder: MemoryRecorder) -> None:
        instrument(recorder)
        self.config = None


class InAnAgent(Passed):
    """An ``InstrumentedAgent`` around; it comes before the names of graphs and nodes."""

    def __init__(self, recorder: MemoryRecorder) -> None:
        self.config = None
        self.recorder = recorder

    def around(self, root: Any) -> Any:
        agent = Around(root)
        agent.recorder = self.recorder
        return agent

    def agent(self, owner: Owner) -> str:
        return "around" if owner.how in ("graph", "node") else owner.name

    def in_a_run(self, owner: Owner) -> bool:
        return owner.when != "late"

    def runs(self, topology: Topology) -> Counter[tuple[str, str]]:
        others = [runs for runs in topology.runs if runs.owner.how != "graph"]
        return super().runs(Topology(topology.build, tuple(others))) + Counter(
            [("around", "success")]
        )


class Around(InstrumentedAgent):
    agent_name = "around"

    def __init__(self, root: Any) -> None:
        self.root = root

    def invoke(self, task: Any, config: Any = None) -> Any:
        return self.root.invoke(task_of(self.root), config)

    async def ainvoke(self, task: Any, config: Any = None) -> Any:
        return await self.root.ainvoke(task_of(self.root), config)

    def stream(self, task: Any, config: Any = None) -> Iterator[Any]:
        yield from stream_of(self.root, config)

    async def astream(self, task: Any, config: Any = None) -> AsyncIterator[Any]:
        async for item in astream_of(self.root, config):
            yield item


class Explicit(Passed):
    """A handler that was told an agent: whatever the calls are called, they are that agent's."""

    def handler(self, recorder: MemoryRecorder) -> MetricsCallbackHandler:
        return MetricsCallbackHandler(recorder, agent_name="boss")

    def around(self, root: Any) -> Any:
        return root if isinstance(root, Runnable) else _as_runnable(root)

    def agent(self, owner: Owner) -> str:
        return "boss"

    def in_a_run(self, owner: Owner) -> bool:
        return owner.when == "in time"

    def runs(self, topology: Topology) -> Counter[tuple[str, str]]:
        own = [runs for runs in topology.runs if runs.owner.how == "own"]
        return super().runs(Topology(topology.build, tuple(own))) + Counter([("boss", "success")])


def _as_runnable(root: Any) -> Any:
    async def ainvoke(task: Any) -> Any:
        return await root.ainvoke(task)

    return RunnableLambda(lambda task: root.invoke(task), ainvoke)


# Ways to run


def stream_of(root: Any, config: Any) -> Iterator[Any]:
    options = TOKEN_BY_TOKEN if isinstance(root, Pregel) else {}
    return iter(root.stream(task_of(root), config, **options))


def astream_of(root: Any, config: Any) -> AsyncIterator[Any]:
    options = TOKEN_BY_TOKEN if isinstance(root, Pregel) else {}
    stream: AsyncIterator[Any] = root.astream(task_of(root), config, **options)
    return stream


def events_of(root: Any, config: Any) -> AsyncIterator[Any]:
    """LangChain's events; an ``InstrumentedAgent`` has none, and is streamed."""
    if not isinstance(root, Runnable):
        return astream_of(root, config)
    return root.astream_events(task_of(root), config, version="v2")


def run(way: Passed, topology: Topology, kit: Kit, how: str) -> None:
    root = way.around(topology.build(kit))
    if how == "invoke":
        root.invoke(task_of(root), way.config)
    else:
        assert list(stream_of(root, way.config))
    kit.finish()
    asyncio.run(traffic.until(lambda: has_let_go(kit.recorder)))


async def arun(way: Passed, topology: Topology, kit: AsyncKit, how: str) -> None:
    root = way.around(topology.build(kit))
    if how == "ainvoke":
        await root.ainvoke(task_of(root), way.config)
    else:
        items = astream_of if how == "astream" else events_of
        assert [item async for item in items(root, way.config)]
    await kit.afinish()
    await traffic.until(lambda: has_let_go(kit.recorder))


# What is to come of it


def equals_the_wire(recorder: MemoryRecorder, kit: Kit, way: Passed) -> None:
    """Everything that is counted by agent, and the runs' own totals."""
    calls, tokens, costs = _counted(kit.wire, way.agent)
    assert by(recorder, "llm_calls_total", "agent_name", "status") == {
        (agent, "success"): count for agent, count in calls.items()
    }
    assert by(recorder, "llm_tokens_total", "agent_name", "token_type") == tokens
    assert by(recorder, "llm_cost_usd_total", "agent_name") == pytest.approx(costs, rel=1e-9)
    assert recorder.value("llm_calls_total") == len(kit.wire.calls) > 0
    assert by(recorder, "tool_executions_total", "agent_name", "tool_name", "status") == {
        (agent, tool, "success"): count
        for (agent, tool), count in _of_agents(kit.tools, way).items()
    }
    assert by(recorder, "retriever_queries_total", "agent_name", "retriever", "status") == {
        (agent, name, "success"): count
        for (agent, name), count in _of_agents(kit.queries, way).items()
    }


def runs_are_whole(recorder: MemoryRecorder, kit: Kit, way: Passed, topology: Topology) -> None:
    """Each run once, and in its totals every call that was made while it went on."""
    runs = way.runs(topology)
    assert by(recorder, "agent_runs_total", "agent_name", "status") == runs

    def agent_in_a_run(owner: Owner) -> str | None:
        return way.agent(owner) if way.in_a_run(owner) else None

    calls, tokens, costs = _counted(kit.wire, agent_in_a_run)
    tools = Counter[str]()
    for (owner, _), count in kit.tools.items():
        tools[agent_in_a_run(owner) or ""] += count
    for agent in {agent for agent, _ in runs}:
        totals = {
            "agent_run_llm_calls": calls[agent],
            "agent_run_tool_calls": tools[agent],
            "agent_run_tokens": tokens[agent, "input"] + tokens[agent, "output"],
            "agent_run_cost_usd": pytest.approx(costs[agent], rel=1e-9),
        }
        for metric, total in totals.items():
            histogram = recorder.histogram(metric, agent_name=agent)
            assert histogram.sum == total, (metric, agent)
            assert histogram.count == sum(n for (a, _), n in runs.items() if a == agent), metric


def nothing_is_left(recorder: MemoryRecorder) -> None:
    for gauge in IN_FLIGHT:
        assert by(recorder, gauge) == {}, gauge
    assert recorder.value("agentmetrics_handler_errors_total") == 0
    assert not pipeline_of(recorder).table._open


def has_let_go(recorder: Recorder) -> bool:
    """Whether nothing is kept of what is over; loops and threads hold a context a little longer."""
    gc.collect()
    table = pipeline_of(recorder).table
    table.end_abandoned()
    return not table._ended


def _counted(wire: Wire, agent_of: Callable[[Owner], Any]) -> tuple[Counter[Any], ...]:
    """What the wire sent: calls by agent, tokens by agent and kind, and cost by agent."""
    calls, tokens = Counter[Any](), Counter[Any]()
    costs: Any = Counter[Any]()  # of floats, which its type does not know
    for call in wire.having(ended="success"):
        calls[agent_of(Owner.read(call.agent))] += 1
    for (owner, _, _, kind), count in traffic.tokens(wire).items():
        tokens[agent_of(Owner.read(owner)), kind] += count
    for (owner, _, _), cost in traffic.costs(wire).items():
        costs[agent_of(Owner.read(owner))] += cost
    return calls, tokens, costs


def _of_agents(counted: Counter[tuple[Owner, str]], way: Passed) -> Counter[tuple[str, str]]:
    found = Counter[tuple[str, str]]()
    for (owner, name), count in counted.items():
        found[way.agent(owner), name] += count
    return found


def by(recorder: MemoryRecorder, metric: str, *labels: str) -> Any:
    """The values of a metric that are not 0, by the values of these labels."""
    found: Any = Counter[Any]()  # of floats, which its type does not know
    for sample in recorder.samples():
        if sample.name == metric and sample.value:
            key = tuple(sample.labels[label] for label in labels)
            found[key[0] if len(key) == 1 else key] += sample.value
    return found


def check(recorder: MemoryRecorder, kit: Kit, way: Passed, topology: Topology) -> None:
    equals_the_wire(recorder, kit, way)
    runs_are_whole(recorder, kit, way, topology)
    nothing_is_left(recorder)


@pytest.mark.usefixtures("hooks")
class TestCallsAndRuns:
    @pytest.mark.parametrize(
        ("way", "how"),
        [
            (Passed, "invoke"),
            (Passed, "stream"),
            (Hooked, "invoke"),
            (InAnAgent, "stream"),
            (Explicit, "invoke"),
        ],
    )
    def test_calls_and_runs_are_each_with_the_right_agent(
        self, topology: Topology, way: type[Passed], how: str, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        kit, attached = Kit(wire, recorder), way(recorder)
        run(attached, topology, kit, how)
        check(recorder, kit, attached, topology)

    if sys.version_info >= (3, 11):  # before, LangGraph hands no callbacks to async nodes

        @pytest.mark.anyio
        @pytest.mark.parametrize(
            ("way", "how"),
            [
                (Passed, "ainvoke"),
                (Passed, "astream"),
                (Passed, "astream_events"),
                (Hooked, "astream"),
                (InAnAgent, "ainvoke"),
                (InAnAgent, "astream"),
                (Explicit, "ainvoke"),
            ],
        )
        async def test_calls_and_runs_are_each_with_the_right_agent_on_an_event_loop(
            self,
            topology: Topology,
            way: type[Passed],
            how: str,
            wire: Wire,
            recorder: MemoryRecorder,
        ) -> None:
            kit, attached = AsyncKit(wire, recorder), way(recorder)
            await arun(attached, topology, kit, how)
            check(recorder, kit, attached, topology)
