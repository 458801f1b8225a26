"""Which agent a LangChain event belongs to.

The first that answers: the handler's own ``agent_name``; the run metadata's ``agent_name``;
its ``lc_agent_name``, which LangChain's ``create_agent(name=…)`` sets; the ``InstrumentedAgent``
around; the nearest named LangGraph graph above; the graph's node; ``unknown``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentmetrics.context import current_run
from agentmetrics.facts import UNKNOWN, AgentRun, Scope
from agentmetrics.recorder import clean_label

UNNAMED_GRAPH = "LangGraph"
"""What LangGraph calls a graph that was given no name."""
_STEP_TAG = "graph:step:"

Metadata = Mapping[str, Any]


def told_name(explicit: str | None, metadata: Metadata | None) -> str | None:
    """The name that somebody gave: to the handler, in the metadata, or to ``create_agent``."""
    if explicit is not None or not metadata:
        return explicit
    name = metadata.get("agent_name") or metadata.get("lc_agent_name")
    return name if name is None or type(name) is str else clean_label(name)


def attribute(
    explicit: str | None, metadata: Metadata | None, scope: Scope | None
) -> tuple[str, AgentRun | None]:
    """The agent of a call inside ``scope``, and the run of it whose totals the call adds to."""
    around = current_run.get()
    name = explicit or (told_name(explicit, metadata) if metadata else None)
    if name is None:
        if around is not None:
            name = around.agent_name
        elif scope is not None and scope.graph:
            name = scope.graph
        else:
            name = clean_label(metadata.get("langgraph_node") if metadata else None) or UNKNOWN
    run = scope.run if scope is not None else None
    if around is not None and around is not run:
        return name, _nearest(name, run, around)
    if run is not None and (run.ended or run.agent_name != name):
        run = None
    return name, run


def _nearest(agent_name: str, *runs: AgentRun | None) -> AgentRun | None:
    """The latest of these runs that is one of this agent and still going on."""
    own = [r for r in runs if r is not None and not r.ended and r.agent_name == agent_name]
    return max(own, key=lambda run: run.started, default=None)


def is_graph_node(tags: list[str] | None) -> bool:
    """Whether a chain is a node of a LangGraph graph, which makes its parent the graph."""
    return any(tag.startswith(_STEP_TAG) for tag in tags or ())
