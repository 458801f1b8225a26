"""What begins with an event of LangChain: a call, a chain, a tool execution or a query, opened."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import Any
from uuid import UUID

from langchain_core.runnables.config import var_child_runnable_config

from agentmetrics.calls.attribution import nearest_run
from agentmetrics.calls.facts import UNKNOWN, Ceiling, LLMCall, RetrieverQuery, Scope, ToolExecution
from agentmetrics.errors import BudgetExceeded
from agentmetrics.pipeline import Pipeline
from agentmetrics.providers.fields import fields_of
from agentmetrics.recording.metric import clean_label
from agentmetrics.sources.ceiling import ceiling_of
from agentmetrics.sources.langchain.around import extra_values_here, parent_around
from agentmetrics.sources.langchain.callbacks.asked import NOTES, Asked
from agentmetrics.sources.langchain.callbacks.attribution import (
    UNNAMED_GRAPH,
    Metadata,
    attribute,
    begins_with_graph,
    begins_with_unnamed_agent,
    is_graph_node,
    name_of_entrypoint,
    run_of_chain,
)
from agentmetrics.sources.langchain.callbacks.fallbacks import (
    failing,
    member_failed,
    model_started,
)
from agentmetrics.sources.langchain.callbacks.lookups import expect_lookup, instrumented
from agentmetrics.sources.langchain.callbacks.scope import ChainRun
from agentmetrics.sources.langchain.callbacks.usage import requested
from agentmetrics.sources.seen import note

_NOTHING: Metadata = {}


def start_call(
    pipeline: Pipeline,
    agent_name: str | None,
    run_id: UUID,
    parent_run_id: UUID | None,
    metadata: Metadata | None,
    invocation_params: dict[str, Any] | None,
    serialized: dict[str, Any] | None = None,
    messages: list[list[Any]] | None = None,
    batch_size: int | None = None,
) -> None:
    """Open an LLM call. Raises ``BudgetExceeded`` when a budget refuses it."""
    # Without a config around, which is the plain case, nothing need be looked up.
    bare = parent_run_id is None and var_child_runnable_config.get() is None
    scope = None if bare else scope_of(pipeline, parent_run_id)
    default = pipeline.options.default_agent_name
    agent, run = attribute(agent_name, metadata, scope, default)
    provider, model = requested(metadata, invocation_params)
    call = LLMCall(agent, provider, model, perf_counter(), run)
    if pipeline.extra_labels:
        call.extra = extra_values_here(
            pipeline.extra_labels, metadata, nearest_run(scope), parent_run_id
        )
    note_asked = NOTES.get(provider)
    if note_asked is not None:
        sent = messages[0] if messages else ()
        asked = Asked(
            metadata or _NOTHING, invocation_params or _NOTHING, serialized or _NOTHING, sent
        )
        note_asked(call, asked)
    if call.started >= pipeline.next_look:
        pipeline.look(call.started)
    if pipeline.is_watched:  # apart, for what a closure costs the plain case
        _open_watched(pipeline, run_id, parent_run_id, call, messages, invocation_params, metadata)
    else:
        call.series = pipeline.llm.expected.get((agent, provider, model, call.extra))
        if call.series is None:
            pipeline.expect(call)
            call.started = perf_counter()  # the price of the first call is not its time
        pipeline.table.start(run_id, call)
    note(run_id)
    if instrumented and batch_size:
        call.lookup = expect_lookup(pipeline.table, run_id, batch_size)
    inside = None if parent_run_id is None else scope
    if failing or (isinstance(inside, ChainRun) and inside.alternatives is not None):
        model_started(
            pipeline, inside, run_id, parent_run_id,
            serialized, messages, invocation_params, metadata,
        )  # fmt: skip


def _open_watched(
    pipeline: Pipeline,
    run_id: UUID,
    parent_run_id: UUID | None,
    call: LLMCall,
    messages: list[list[Any]] | None,
    invocation_params: dict[str, Any] | None,
    metadata: Metadata | None,
) -> None:
    def ceiling() -> Ceiling | None:
        if messages is None:  # nobody knows what is sent
            return None
        sent = messages[0] if messages else ()
        return ceiling_of(sent, invocation_params, metadata)

    try:
        pipeline.open_call(run_id, call, ceiling)
    except BudgetExceeded as refused:
        member_failed(pipeline, run_id, parent_run_id, refused)
        raise


def start_chain(
    pipeline: Pipeline,
    agent_name: str | None,
    run_id: UUID,
    parent_run_id: UUID | None,
    metadata: Metadata | None,
    tags: list[str] | None,
    name: str | None,
) -> ChainRun:
    """Open a chain, and with it the agent run that it begins, if it begins one."""
    scope = scope_of(pipeline, parent_run_id)
    if isinstance(scope, ChainRun) and is_graph_node(tags):
        _is_graph(pipeline, agent_name, scope, metadata)
    chain = ChainRun(clean_label(name), perf_counter())
    if isinstance(scope, ChainRun):
        chain.graph = chain.outer_graph = scope.graph
        if scope.alternatives is not None and parent_run_id is not None:
            chain.alternatives = scope.alternatives
            scope.alternatives.nested = True
    extra = extra_values_here(pipeline.extra_labels, metadata, nearest_run(scope), parent_run_id)
    begins, chain.run = run_of_chain(agent_name, metadata, scope)
    if begins is None and chain.run is None:
        default = pipeline.options.default_agent_name
        begins = begins_with_unnamed_agent(name, metadata, default)
    if begins:
        pipeline.begin_run(chain, begins, extra)
    pipeline.table.start(run_id, chain)
    return chain


def _is_graph(
    pipeline: Pipeline, agent_name: str | None, graph: ChainRun, metadata: Metadata | None
) -> None:
    """A node has started in ``graph``: if it has a name, that is an agent's."""
    if graph.is_graph:
        return
    if graph.name == UNNAMED_GRAPH:
        graph.name = name_of_entrypoint(metadata) or UNNAMED_GRAPH
    if graph.name and graph.name != UNNAMED_GRAPH:
        if begins_with_graph(agent_name, metadata, graph):
            extra = extra_values_here(pipeline.extra_labels, metadata, graph.run)
            pipeline.begin_run(graph, graph.name, extra)
        graph.graph = graph.name
    graph.is_graph = True


def start_inside(
    kind: type[ToolExecution] | type[RetrieverQuery],
    pipeline: Pipeline,
    agent_name: str | None,
    run_id: UUID,
    parent_run_id: UUID | None,
    metadata: Metadata | None,
    serialized: dict[str, Any] | None,
    name: str | None,
) -> None:
    """Open a tool execution or a query, which others can be in."""
    scope = scope_of(pipeline, parent_run_id)
    default = pipeline.options.default_agent_name
    agent, run = attribute(agent_name, metadata, scope, default)
    named = clean_label(name or (serialized or {}).get("name")) or UNKNOWN
    fact = kind(agent, named, perf_counter())
    fact.extra = extra_values_here(
        pipeline.extra_labels, metadata, nearest_run(scope), parent_run_id
    )
    fact.run = run
    fact.scope = scope
    pipeline.start(run_id, fact)


def scope_of(pipeline: Pipeline, parent_run_id: UUID | None) -> Scope | None:
    """The chain that a run is in; one that was given callbacks of its own has lost its parent."""
    parent = parent_run_id or parent_around()
    return None if parent is None else pipeline.table.scope(parent)


# A start that could not be read as it came is read once more, with what is left of each argument
# when all that LangChain never passes is taken out: what is understood of it is recorded. What is
# left is of Python's own classes alone, none of whose methods is somebody's.


def plain_id(run_id: object) -> UUID | None:
    return run_id if type(run_id) is UUID else None


def plain_dict(mapping: Any) -> dict[str, Any] | None:
    with suppress(Exception):
        plain = {plain_text(key): _plain(value) for key, value in fields_of(mapping)}
        return {key: value for key, value in plain.items() if key and value is not None}
    return None


def _plain(value: Any) -> str | int | float | None:
    return value if type(value) in (int, float, bool) else plain_text(value)


def plain_texts(values: object) -> list[str]:
    texts = map(plain_text, values) if type(values) is list else ()
    return [text for text in texts if text is not None]


def plain_text(value: object) -> str | None:
    return str.__str__(value) if issubclass(type(value), str) else None
