"""langgraph-supervisor and langgraph-swarm, as they are published: each call with its agent."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm

from agentmetrics import MemoryRecorder
from tests.integration.apps.topologies import AsyncKit, Kit, Runs, Topology, graph, told
from tests.integration.test_topologies import Passed, arun, check, run
from tests.services.wire import Wire

pytestmark = [
    pytest.mark.asyncio_alone,
    # langgraph-supervisor's own, about what it builds on
    pytest.mark.filterwarnings("ignore:create_react_agent has been moved:DeprecationWarning"),
]


def supervisor(kit: Kit) -> Any:
    boss, writer, critic = graph("supervisor"), told("writer"), told("critic")
    kit.asks(boss, "transfer_to_writer", "transfer_to_critic")
    kit.asks(writer, "write")
    agents = [kit.agent(writer, kit.tool(writer, "write")), kit.agent(critic)]
    built = create_supervisor(agents, model=kit.model(boss), supervisor_name="supervisor")
    kit.tools.update({(boss, "transfer_to_writer"): 1, (boss, "transfer_to_critic"): 1})
    return built.compile(name="office")


def swarm(kit: Kit) -> Any:
    alice, bob = told("alice"), told("bob")
    kit.asks(alice, "transfer_to_bob")
    kit.asks(bob, "look")
    agents = [
        kit.agent(alice, create_handoff_tool(agent_name="bob")),
        kit.agent(bob, kit.tool(bob, "look")),
    ]
    kit.tools[alice, "transfer_to_bob"] += 1
    return create_swarm(agents, default_active_agent="alice").compile()


OFFICE = Topology(
    supervisor,
    (
        Runs(graph("office")),
        Runs(graph("supervisor"), 2, "interrupted"),
        Runs(graph("supervisor")),
        Runs(told("writer")),
        Runs(told("critic")),
    ),
)
SWARM = Topology(swarm, (Runs(told("alice"), 1, "interrupted"), Runs(told("bob"))))


@pytest.mark.parametrize("topology", [OFFICE, SWARM], ids=["supervisor", "swarm"])
class TestCallsAndRuns:
    @pytest.mark.parametrize("how", ["invoke", "stream"])
    def test_published_calls_and_runs_are_each_with_the_right_agent(
        self, topology: Topology, how: str, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        kit, attached = Kit(wire, recorder), Passed(recorder)
        run(attached, topology, kit, how)
        check(recorder, kit, attached, topology)

    if sys.version_info >= (3, 11):  # before, LangGraph hands no callbacks to async nodes

        @pytest.mark.anyio
        @pytest.mark.parametrize("how", ["ainvoke", "astream", "astream_events"])
        async def test_published_calls_and_runs_are_each_with_the_right_agent_on_an_event_loop(
            self, topology: Topology, how: str, wire: Wire, recorder: MemoryRecorder
        ) -> None:
            kit, attached = AsyncKit(wire, recorder), Passed(recorder)
            await arun(attached, topology, kit, how)
            check(recorder, kit, attached, topology)
