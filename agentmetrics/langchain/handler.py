"""MetricsCallbackHandler: LangChain's callbacks, each handed on in a few lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import get_llm_cache
from langchain_core.outputs import LLMResult
from langchain_core.runnables.config import var_child_runnable_config

from agentmetrics.budget.exceeded import BudgetExceeded
from agentmetrics.calls import OpenCalls, open_calls
from agentmetrics.context import extra_values, parent_around
from agentmetrics.facts import UNKNOWN, ChainRun, LLMCall, RetrieverQuery, ToolExecution
from agentmetrics.langchain.attribution import (
    UNNAMED_GRAPH,
    Metadata,
    attribute,
    begins_with_graph,
    is_graph_node,
    nearest_run,
    run_of_chain,
)
from agentmetrics.langchain.bound import bound_of
from agentmetrics.langchain.cache import expect_lookup, instrumented, note_lookup
from agentmetrics.langchain.quirks import ErrorInResponse
from agentmetrics.langchain.routing import (
    PLACES,
    failing,
    member_failed,
    model_started,
    place_ended,
    place_started,
)
from agentmetrics.langchain.streaming import chunk_carries_output, event_carries_output
from agentmetrics.langchain.usage import (
    read_chunk,
    read_first_chunk,
    read_response,
    requested,
)
from agentmetrics.outcome import is_interrupt
from agentmetrics.recorder import Recorder, clean_label
from agentmetrics.settings import get_recorder

_MISSING: Any = None
"""Stands for an argument that LangChain did not pass, so that it is we who notice."""

_PLAIN = (str, int, float)


class MetricsCallbackHandler(BaseCallbackHandler):
    """Records every LangChain and LangGraph run that it is attached to.

    One handler serves sync and async, streams and batches, and any number of threads. It
    records in ``recorder``, by default the configured one. ``agent_name`` puts everything down
    to one agent; without it each call is attributed by the rule in
    ``agentmetrics.langchain.attribution``.

    Nothing it does raises into the program, but for ``BudgetExceeded`` where a budget blocks a
    call: what it cannot understand is counted in ``agentmetrics_handler_errors_total``. It keeps
    no prompt, reply, argument or error text.

    Raises ``agentmetrics.ConfigurationError`` when made without a recorder and the
    environment's settings cannot be used.
    """

    run_inline = True  # else every event of an async run goes through a thread
    # Plain attributes: LangChain asks for these at every event, and a property is a call.
    ignore_llm = False
    ignore_chat_model = False
    ignore_chain = False
    ignore_retriever = False
    ignore_agent = False  # langchain-core asks for this one before tool events, too
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, recorder: Recorder | None = None, agent_name: str | None = None) -> None:
        super().__init__()
        self.agent_name = clean_label(agent_name) or None
        self._explicit = recorder
        recorder = recorder or get_recorder()
        self._in_use: tuple[Recorder, OpenCalls] = (recorder, open_calls(recorder))

    def __copy__(self) -> MetricsCallbackHandler:
        return self

    def __deepcopy__(self, memo: object) -> MetricsCallbackHandler:
        return self  # a copied chain goes on recording in the same place

    def __reduce__(self) -> tuple[Any, ...]:
        # A recorder holds locks and sockets: in another process it is the configured one there.
        return (type(self), (None, self.agent_name))

    @property
    def raise_error(self) -> bool:  # type: ignore[override]
        """Whether LangChain is to raise what an event raised; it asks while it handles that.

        Only the call that a budget refuses is the program's concern.
        """
        return isinstance(sys.exc_info()[1], BudgetExceeded)

    def is_for(self, recorder: Recorder | None, agent_name: str | None) -> bool:
        """Whether this handler was made with the same arguments."""
        return self._explicit is recorder and self.agent_name == agent_name

    def _calls(self) -> OpenCalls:
        recorder = self._explicit or get_recorder()
        known, calls = self._in_use
        if recorder is not known:  # configure() was called since
            try:
                calls = open_calls(recorder)
            except Exception as error:  # as where a metric's name is taken: not the agent's affair
                calls.failed("configure", error)
            self._in_use = (recorder, calls)
        return calls

    # LLM calls

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] = _MISSING,
        messages: list[list[Any]] = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Metadata | None = None,
        invocation_params: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        name: str | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            self._start_call(
                calls, run_id, parent_run_id, metadata,
                invocation_params, serialized, messages, batch_size,
            )  # fmt: skip
        except BudgetExceeded:
            raise
        except Exception as error:
            calls.failed("on_chat_model_start", error)
            self._start_plain_call(calls, run_id, parent_run_id, metadata, invocation_params)

    def _start_call(
        self,
        calls: OpenCalls,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: Metadata | None,
        invocation_params: dict[str, Any] | None,
        serialized: dict[str, Any] | None = None,
        messages: list[list[Any]] | None = None,
        batch_size: int | None = None,
    ) -> None:
        # Without a config around, which is the plain case, nothing need be looked up.
        bare = parent_run_id is None and var_child_runnable_config.get() is None
        scope = None if bare else _scope(calls, parent_run_id)
        agent, run = attribute(self.agent_name, metadata, scope)
        provider, model = requested(metadata, invocation_params)
        call = LLMCall(agent, provider, model, perf_counter(), run)
        if calls.extra_labels:
            call.extra = extra_values(
                calls.extra_labels, metadata, nearest_run(scope), parent_run_id
            )
        if calls.gates and calls.get(run_id) is None:
            sent = messages[0] if messages else ()
            calls.admit(call, lambda: bound_of(sent, invocation_params, metadata))
        if instrumented and batch_size:
            call.lookup = expect_lookup(run_id, batch_size)
        calls.start(run_id, call)
        inside = None if parent_run_id is None else scope
        if failing or (inside is not None and inside.alternatives is not None):
            model_started(
                calls, inside, run_id, parent_run_id,
                serialized, messages, invocation_params, metadata,
            )  # fmt: skip

    def _start_plain_call(
        self,
        calls: OpenCalls,
        run_id: UUID,
        parent_run_id: object,
        metadata: object,
        invocation_params: object,
    ) -> None:
        parent, params = _parent(parent_run_id), _plain(invocation_params)
        try:
            self._start_call(calls, run_id, parent, _plain(metadata), params)
        except BudgetExceeded:
            raise
        except Exception:  # it was counted the first time
            return

    def on_llm_start(
        self,
        serialized: dict[str, Any] = _MISSING,
        prompts: list[str] = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Metadata | None = None,
        invocation_params: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            self._start_call(
                calls, run_id, parent_run_id, metadata, invocation_params, serialized, [prompts]
            )
        except BudgetExceeded:
            raise
        except Exception as error:
            calls.failed("on_llm_start", error)
            self._start_plain_call(calls, run_id, parent_run_id, metadata, invocation_params)

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]] = _MISSING,
        *,
        chunk: Any = None,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            call = calls.get(run_id)
            if type(call) is LLMCall:
                if call.first_token:
                    if call.usage is not None:
                        read_chunk(call, chunk)
                elif chunk_carries_output(token, chunk):
                    call.first_token = perf_counter()
                    read_first_chunk(call, chunk)
        except Exception as error:
            calls.failed("on_llm_new_token", error)

    def on_stream_event(
        self,
        event: Any = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            call = calls.get(run_id)
            if isinstance(call, LLMCall) and not call.first_token:
                if event_carries_output(event):
                    call.first_token = perf_counter()
        except Exception as error:
            calls.failed("on_stream_event", error)

    def on_llm_end(
        self,
        response: LLMResult = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            call = calls.take(run_id)
            if type(call) is LLMCall:
                try:
                    read_response(call, response, run_id)
                    if instrumented or get_llm_cache() is not None:
                        note_lookup(call, response)
                except ErrorInResponse as error:
                    calls.finish(call, error)
                    return
                except Exception as error:  # the call counts, its tokens do not
                    calls.failed("on_llm_end", error)
                calls.succeed(call)
            elif call is not None:
                calls.finish(call)
        except Exception as problem:
            calls.failed("on_llm_end", problem)

    def on_llm_error(
        self,
        error: BaseException = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        response: LLMResult | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            call = calls.take(run_id)
            if isinstance(call, LLMCall) and response is not None:
                _read(calls, "on_llm_error", call, response, run_id)  # it may have been billed
            if call is not None:
                told = _told(calls, "on_llm_error", error)
                calls.finish(call, told)
                member_failed(calls, run_id, parent_run_id, told)
        except Exception as problem:
            calls.failed("on_llm_error", problem)

    # Chains, graphs and agents

    def on_chain_start(
        self,
        serialized: dict[str, Any] = _MISSING,
        inputs: dict[str, Any] = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Metadata | None = None,
        name: str | None = None,
        run_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            chain = self._start_chain(calls, run_id, parent_run_id, metadata, tags, name)
            if chain.name in PLACES:
                place_started(calls, chain, run_id, parent_run_id, tags, metadata)
        except Exception as error:
            calls.failed("on_chain_start", error)
            with suppress(Exception):
                parent, plain = _parent(parent_run_id), _plain(metadata)
                self._start_chain(calls, run_id, parent, plain, _texts(tags), _text(name))

    def _start_chain(
        self,
        calls: OpenCalls,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: Metadata | None,
        tags: list[str] | None,
        name: str | None,
    ) -> ChainRun:
        scope = _scope(calls, parent_run_id)
        if scope is not None and is_graph_node(tags):
            self._is_graph(calls, scope, metadata)
        chain = ChainRun(clean_label(name), perf_counter())
        self._attribute_chain(calls, chain, scope, parent_run_id, metadata)
        calls.start(run_id, chain)
        return chain

    def _attribute_chain(
        self,
        calls: OpenCalls,
        chain: ChainRun,
        scope: ChainRun | None,
        parent_run_id: UUID | None,
        metadata: Metadata | None,
    ) -> None:
        """Say which agent run a chain is part of, and let one begin for a name not yet around."""
        if scope is not None:
            chain.graph = chain.outer_graph = scope.graph
            if scope.alternatives is not None and parent_run_id is not None:
                chain.alternatives = scope.alternatives
                scope.alternatives.nested = True
        extra = extra_values(calls.extra_labels, metadata, nearest_run(scope), parent_run_id)
        begins, chain.run = run_of_chain(self.agent_name, metadata, scope)
        if begins:
            calls.begin_run(chain, begins, extra)

    def _is_graph(self, calls: OpenCalls, graph: ChainRun, metadata: Metadata | None) -> None:
        """A node has started in ``graph``: if it has a name, that is an agent's."""
        if graph.is_graph:
            return
        if graph.name and graph.name != UNNAMED_GRAPH:
            if begins_with_graph(self.agent_name, metadata, graph):
                extra = extra_values(calls.extra_labels, metadata, graph.run)
                calls.begin_run(graph, graph.name, extra)
            graph.graph = graph.name
        graph.is_graph = True

    def on_chain_end(
        self,
        outputs: Any = None,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        self._end("on_chain_end", run_id)

    def on_chain_error(
        self,
        error: BaseException = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self._fail("on_chain_error", run_id, parent_run_id, error)
        if is_interrupt(error):
            self._interrupt_graph(parent_run_id, tags)

    def _interrupt_graph(self, graph_id: UUID | None, tags: list[str] | None) -> None:
        """A node was interrupted: LangGraph ends the outermost graph as if it had succeeded."""
        calls = self._calls()
        try:
            graph = _scope(calls, graph_id)
            if isinstance(graph, ChainRun) and is_graph_node(tags):
                graph.interrupted = True
        except Exception as error:
            calls.failed("on_chain_error", error)

    # Tools and retrievers

    def on_tool_start(
        self,
        serialized: dict[str, Any] = _MISSING,
        input_str: str = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Metadata | None = None,
        inputs: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            self._start_tool(calls, run_id, parent_run_id, metadata, serialized, name)
        except Exception as error:
            calls.failed("on_tool_start", error)
            with suppress(Exception):
                parent, plain = _parent(parent_run_id), _plain(metadata)
                self._start_tool(calls, run_id, parent, plain, _plain(serialized), _text(name))

    def _start_tool(
        self,
        calls: OpenCalls,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: Metadata | None,
        serialized: dict[str, Any] | None,
        name: str | None,
    ) -> None:
        scope = _scope(calls, parent_run_id)
        agent, run = attribute(self.agent_name, metadata, scope)
        tool = ToolExecution(agent, _name(name, serialized), perf_counter())
        tool.extra = extra_values(calls.extra_labels, metadata, nearest_run(scope), parent_run_id)
        tool.run = run
        tool.scope = scope
        calls.start(run_id, tool)

    def on_tool_end(
        self,
        output: Any = None,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        self._end("on_tool_end", run_id)

    def on_tool_error(
        self,
        error: BaseException = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        self._fail("on_tool_error", run_id, parent_run_id, error)

    def on_retriever_start(
        self,
        serialized: dict[str, Any] = _MISSING,
        query: str = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Metadata | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            self._start_query(calls, run_id, parent_run_id, metadata, serialized, name)
        except Exception as error:
            calls.failed("on_retriever_start", error)
            with suppress(Exception):
                parent, plain = _parent(parent_run_id), _plain(metadata)
                self._start_query(calls, run_id, parent, plain, _plain(serialized), _text(name))

    def _start_query(
        self,
        calls: OpenCalls,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: Metadata | None,
        serialized: dict[str, Any] | None,
        name: str | None,
    ) -> None:
        scope = _scope(calls, parent_run_id)
        agent, run = attribute(self.agent_name, metadata, scope)
        retriever = RetrieverQuery(agent, _name(name, serialized), perf_counter())
        retriever.extra = extra_values(
            calls.extra_labels, metadata, nearest_run(scope), parent_run_id
        )
        retriever.run = run
        retriever.scope = scope
        calls.start(run_id, retriever)

    def on_retriever_end(
        self,
        documents: Sequence[Any] = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        calls = self._calls()
        try:
            query = calls.leave(run_id)
            if isinstance(query, RetrieverQuery):
                query.documents = _count(calls, documents)
            if query is not None:
                calls.finish(query)
        except Exception as error:
            calls.failed("on_retriever_end", error)

    def on_retriever_error(
        self,
        error: BaseException = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        self._fail("on_retriever_error", run_id, parent_run_id, error)

    def _end(self, event: str, run_id: UUID) -> None:
        calls = self._calls()
        try:
            fact = calls.leave(run_id)
            if fact is not None:
                if type(fact) is ChainRun and fact.alternatives is not None:
                    place_ended(calls, run_id)
                calls.finish(fact)
        except Exception as problem:
            calls.failed(event, problem)

    def _fail(
        self, event: str, run_id: UUID, parent_run_id: UUID | None, error: BaseException
    ) -> None:
        calls = self._calls()
        try:
            fact = calls.leave(run_id)
            if fact is not None:
                if type(fact) is ChainRun and fact.alternatives is not None:
                    place_ended(calls, run_id)
                told = _told(calls, event, error)
                calls.finish(fact, told)
                member_failed(calls, run_id, parent_run_id, told)
        except Exception as problem:
            calls.failed(event, problem)

    def _heard(self, *args: Any, **kwargs: Any) -> None:
        """Events that begin and end nothing."""

    on_text = on_retry = on_agent_action = on_agent_finish = on_custom_event = _heard


# A start that could not be read as it came is read once more, with what is left of each argument
# when all that LangChain never passes is taken out: what is understood of it is recorded.


def _parent(run_id: object) -> UUID | None:
    return run_id if isinstance(run_id, UUID) else None


def _plain(mapping: object) -> dict[str, Any] | None:
    if isinstance(mapping, Mapping):
        with suppress(Exception):
            items = mapping.items()
            return {k: v for k, v in items if isinstance(k, str) and isinstance(v, _PLAIN)}
    return None


def _texts(values: object) -> list[str]:
    return [v for v in values if isinstance(v, str)] if isinstance(values, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _told(calls: OpenCalls, event: str, error: object) -> BaseException:
    """The error that an event came with; an error event without one is an error all the same."""
    if isinstance(error, BaseException):
        return error
    untold = TypeError()
    calls.failed(event, untold)
    return untold


def _count(calls: OpenCalls, documents: object) -> int | None:
    if isinstance(documents, Sequence) and not isinstance(documents, str | bytes):
        return len(documents)
    calls.failed("on_retriever_end", TypeError())
    return None


def _read(calls: OpenCalls, event: str, call: LLMCall, response: LLMResult, run_id: UUID) -> None:
    """Read a response; where it cannot be read the call counts, and its tokens do not."""
    try:
        read_response(call, response, run_id)
    except ErrorInResponse:  # the one that was raised says more
        return
    except Exception as error:
        calls.failed(event, error)


def _scope(calls: OpenCalls, parent_run_id: UUID | None) -> ChainRun | None:
    """The chain that a run is in; one that was given callbacks of its own has lost its parent."""
    parent = parent_run_id or parent_around()
    return None if parent is None else calls.scope(parent)


def _name(name: str | None, serialized: dict[str, Any] | None) -> str:
    return clean_label(name or (serialized or {}).get("name")) or UNKNOWN
