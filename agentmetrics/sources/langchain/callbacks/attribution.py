"""Which agent a call belongs to.

The first that answers: the handler's own ``agent_name``; the run metadata's ``agent_name``;
its ``lc_agent_name``, which LangChain's ``create_agent(name=…)`` sets; the ``InstrumentedAgent``
around; the nearest named LangGraph graph above; the graph's node; ``unknown``. A name that
metadata only inherited from outside of an ``InstrumentedAgent`` does not count inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentmetrics.calls.context import current_run
from agentmetrics.calls.facts import UNKNOWN, AgentRun, ChainRun
from agentmetrics.recording.metric import clean_label

UNNAMED_GRAPH = "LangGraph"
"""What LangGraph calls a graph that was given no name."""
_STEP_TAG = "graph:step:"

Metadata = Mapping[str, Any]


def given_name(explicit: str | None, metadata: Metadata | None) -> str | None:
    """The name that the user gave: to the handler, or in the metadata."""
    if explicit is not None or not metadata:
        return explicit
    return _name(metadata.get("agent_name") or None)


def told_name(explicit: str | None, metadata: Metadata | None, run: AgentRun | None) -> str | None:
    """The name that the user gave, or that of the ``create_agent`` inside of ``run``."""
    if explicit is not None or not metadata:
        return explicit
    name = metadata.get("agent_name")
    if not name:
        name = metadata.get("lc_agent_name")
        if name and run is not None and name == run.outer_name:
            return None
    return _name(name)


def _name(value: Any) -> str | None:
    return value if value is None or type(value) is str else clean_label(value)


def attribute(
    explicit: str | None, metadata: Metadata | None, scope: ChainRun | None
) -> tuple[str, AgentRun | None]:
    """The agent of a call inside ``scope``, and the run of it whose totals the call adds to."""
    run = current_run.get() if scope is None else nearest_run(scope)
    name = explicit
    if name is None and metadata:
        name = metadata.get("agent_name")
        if type(name) is not str or not name:
            name = told_name(None, metadata, run)
    if name is None:
        if run is not None:  # of an InstrumentedAgent, or begun with a named graph
            name = run.agent_name
        else:
            name = clean_label(metadata.get("langgraph_node") if metadata else None) or UNKNOWN
    if run is not None and (run.ended or run.agent_name != name):
        run = next((r for r in _runs(scope) if r.agent_name == name and not r.ended), None)
    return name, run


def nearest_run(scope: ChainRun | None) -> AgentRun | None:
    """The run that began last of those around: the chain's, and an ``InstrumentedAgent``'s."""
    around = current_run.get()
    if scope is None or scope.run is None:
        return around
    return around if around is not None and around.started > scope.run.started else scope.run


def _runs(scope: ChainRun | None) -> list[AgentRun]:
    """The runs around, the one that began last first."""
    of_chain = None if scope is None else scope.run
    runs = [run for run in (of_chain, current_run.get()) if run is not None]
    return sorted(runs, key=lambda run: run.started, reverse=True)


def run_of_chain(
    explicit: str | None, metadata: Metadata | None, scope: ChainRun | None
) -> tuple[str | None, AgentRun | None]:
    """The run that a chain is part of; or the name of the agent that begins one with it."""
    given = given_name(explicit, metadata)
    if given:
        own = next((run for run in _runs(scope) if run.agent_name == given), None)
        return (given, None) if own is None else (None, own)
    run = nearest_run(scope)
    told = told_name(explicit, metadata, run)
    if told and (run is None or run.agent_name != told):
        return told, None
    return None, run


def begins_with_graph(explicit: str | None, metadata: Metadata | None, graph: ChainRun) -> bool:
    """Whether a run begins with a named graph, by what the metadata of its first node says.

    It does where calls in it have its name because nobody told them any other and no
    ``InstrumentedAgent`` is around, and where ``create_agent`` told them and the graph is inside
    of itself.
    """
    if given_name(explicit, metadata):
        return False
    if metadata and metadata.get("lc_agent_name") == graph.name:
        return graph.outer_graph == graph.name
    return told_name(explicit, metadata, graph.run) is None and current_run.get() is None


def is_graph_node(tags: list[str] | None) -> bool:
    """Whether a chain is a node of a LangGraph graph, which makes its parent the graph."""
    return any(tag.startswith(_STEP_TAG) for tag in tags or ())
