"""Which agent a LangChain run belongs to.

The first that answers: the handler's own ``agent_name``; the run metadata's ``agent_name``;
its ``lc_agent_name``, which LangChain's ``create_agent(name=…)`` sets; the ``InstrumentedAgent``
around; the nearest named LangGraph graph above; the graph's node; the default agent name. A name
that metadata only inherited from outside of an ``InstrumentedAgent`` does not count inside it.

An ``@entrypoint`` is a graph named after its function. A ``create_agent`` without a name is the
agent around it, or one that is named after the node it is in, or the default; its own nodes are
nobody's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentmetrics.calls import attribution
from agentmetrics.calls.attribution import nearest_run, runs_around
from agentmetrics.calls.context import current_run, run_here
from agentmetrics.calls.facts import AgentRun, Scope
from agentmetrics.recording.metric import clean_label
from agentmetrics.sources.langchain.callbacks.scope import ChainRun

UNNAMED_GRAPH = "LangGraph"
"""What LangGraph calls a graph that was given no name."""
CREATE_AGENT = "langchain_create_agent"
"""The ``ls_integration`` of the graphs that ``create_agent`` makes."""
_STEP_TAG = "graph:step:"
_START = "__start__"
_AGENT_NODES = frozenset({"model", "tools"})
_MIDDLEWARE_NODES = (".before_agent", ".before_model", ".after_model", ".after_agent")

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
    explicit: str | None, metadata: Metadata | None, scope: Scope | None, default: str
) -> tuple[str, AgentRun | None]:
    """The agent of a call inside ``scope``, and the run of it whose totals the call adds to."""
    if explicit is not None or not metadata:
        return attribution.attribute(explicit, scope, default)
    name = metadata.get("agent_name")
    if type(name) is str and name:
        if scope is None and current_run.get() is None:  # the plain case
            return name, None
    else:
        name = None
        if "agent_name" in metadata or "lc_agent_name" in metadata:
            name = stated_name(None, metadata, nearest_run(scope))
    return attribution.attribute(name, scope, _node(metadata) or default)


def _node(metadata: Metadata) -> str:
    """The node of a graph that this is in, if the user can have named it.

    ``create_agent`` has nodes of its own, and one for each hook of its middleware.
    """
    node = metadata.get("langgraph_node")
    if not node or node in _AGENT_NODES:
        return ""
    node = clean_label(node)
    return "" if node.endswith(_MIDDLEWARE_NODES) else node


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


def begins_with_unnamed_agent(
    name: str | None, metadata: Metadata | None, default: str
) -> str | None:
    """The agent that begins a run where none is around, if this is a ``create_agent``."""
    if name == UNNAMED_GRAPH and metadata and metadata.get("ls_integration") == CREATE_AGENT:
        return _node(metadata) or default
    return None


def name_of_entrypoint(metadata: Metadata | None) -> str:
    """The function that is the whole of a graph, where a node with this metadata is; else ``""``.

    LangGraph gives such a graph no name, and its only node that of the function. Of other graphs
    only the node ``__start__`` is triggered so.
    """
    if not metadata or metadata.get("langgraph_triggers") != (_START,):
        return ""
    name = clean_label(metadata.get("langgraph_node"))
    return "" if name == _START else name


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
    return stated_name(explicit, metadata, graph.run) is None and run_here() is None


def is_graph_node(tags: list[str] | None) -> bool:
    """Whether a chain is a node of a LangGraph graph, which makes its parent the graph."""
    if type(tags) is not list:  # what is somebody's own may go on for ever
        return False
    return any(tag.startswith(_STEP_TAG) for tag in tags)
