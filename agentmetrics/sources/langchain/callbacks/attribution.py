"""Which agent a LangChain run belongs to.

The first that answers: the handler's own ``agent_name``; the run metadata's ``agent_name``;
its ``lc_agent_name``, which LangChain's ``create_agent(name=…)`` sets; the ``InstrumentedAgent``
around; the nearest named LangGraph graph above; the graph's node; ``unknown``. A name that
metadata only inherited from outside of an ``InstrumentedAgent`` does not count inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentmetrics.calls import attribution
from agentmetrics.calls.attribution import nearest_run, runs_around
from agentmetrics.calls.context import current_run
from agentmetrics.calls.facts import AgentRun, Scope
from agentmetrics.recording.metric import clean_label
from agentmetrics.sources.langchain.callbacks.scope import ChainRun

UNNAMED_GRAPH = "LangGraph"
"""What LangGraph calls a graph that was given no name."""
_STEP_TAG = "graph:step:"

Metadata = Mapping[str, Any]


def given_name(explicit: str | None, metadata: Metadata | None) -> str | None:
    """The name that the user gave: to the handler, or in the metadata."""
    if explicit is not None or not metadata:
        return explicit
    return _name(metadata.get("agent_name") or None)


def stated_name(
    explicit: str | None, metadata: Metadata | None, run: AgentRun | None
) -> str | None:
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
    explicit: str | None, metadata: Metadata | None, scope: Scope | None
) -> tuple[str, AgentRun | None]:
    """The agent of a call inside ``scope``, and the run of it whose totals the call adds to."""
    if explicit is not None or not metadata:
        return attribution.attribute(explicit, scope)
    name = metadata.get("agent_name")
    if type(name) is str and name:
        if scope is None and current_run.get() is None:  # the plain case
            return name, None
    else:
        name = None
        if "agent_name" in metadata or "lc_agent_name" in metadata:
            name = stated_name(None, metadata, nearest_run(scope))
    return attribution.attribute(name, scope, metadata.get("langgraph_node"))


def run_of_chain(
    explicit: str | None, metadata: Metadata | None, scope: Scope | None
) -> tuple[str | None, AgentRun | None]:
    """The run that a chain is part of; or the name of the agent that begins one with it."""
    given = given_name(explicit, metadata)
    if given:
        own = next((run for run in runs_around(scope) if run.agent_name == given), None)
        return (given, None) if own is None else (None, own)
    run = nearest_run(scope)
    stated = stated_name(explicit, metadata, run)
    if stated and (run is None or run.agent_name != stated):
        return stated, None
    return None, run


def begins_with_graph(explicit: str | None, metadata: Metadata | None, graph: ChainRun) -> bool:
    """Whether a run begins with a named graph, by what the metadata of its first node says.

    It does where calls in it have its name because nobody gave them any other and no
    ``InstrumentedAgent`` is around, and where ``create_agent`` gave it and the graph is inside
    of itself.
    """
    if given_name(explicit, metadata):
        return False
    if metadata and metadata.get("lc_agent_name") == graph.name:
        return graph.outer_graph == graph.name
    return stated_name(explicit, metadata, graph.run) is None and current_run.get() is None


def is_graph_node(tags: list[str] | None) -> bool:
    """Whether a chain is a node of a LangGraph graph, which makes its parent the graph."""
    return any(tag.startswith(_STEP_TAG) for tag in tags or ())
