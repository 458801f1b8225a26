"""MetricsCallbackHandler: LangChain's callbacks, each passed on in a few lines.

One class in one module, however long: LangChain calls its callbacks as methods of one object.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any
from uuid import UUID

from langchain_core.globals import get_llm_cache
from langchain_core.outputs import ChatGenerationChunk, LLMResult

from agentmetrics.calls.facts import Fact, LLMCall, RetrieverQuery, ToolExecution
from agentmetrics.config.active import active, in_use
from agentmetrics.errors import BudgetExceeded
from agentmetrics.pipeline import Pipeline, pipeline_of
from agentmetrics.providers.failures import ErrorInResponse
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.langchain.callbacks.asked import keep_for
from agentmetrics.sources.langchain.callbacks.attribution import Metadata, is_graph_node
from agentmetrics.sources.langchain.callbacks.errors import is_interrupt
from agentmetrics.sources.langchain.callbacks.fallbacks import (
    PLACES,
    member_failed,
    place_ended,
    place_started,
)
from agentmetrics.sources.langchain.callbacks.lookups import instrumented, note_lookup
from agentmetrics.sources.langchain.callbacks.marker import Marker
from agentmetrics.sources.langchain.callbacks.scope import ChainRun
from agentmetrics.sources.langchain.callbacks.starting import (
    plain_dict,
    plain_id,
    plain_text,
    plain_texts,
    scope_of,
    start_call,
    start_chain,
    start_inside,
)
from agentmetrics.sources.langchain.callbacks.streaming import (
    chunk_carries_output,
    event_carries_output,
)
from agentmetrics.sources.langchain.callbacks.usage import (
    doubt_about,
    note_unread,
    read_chunk,
    read_response,
)

_MISSING: Any = None
"""Stands for an argument that LangChain did not pass, so that it is we who notice."""


class MetricsCallbackHandler(Marker):
    """Records every LangChain and LangGraph run that it is attached to.

    One handler serves sync and async, streams and batches, and any number of threads. It records in
    ``recorder``, by default the configured one. ``agent_name`` attributes everything to one agent;
    without it, each call is attributed by the rule in
    ``agentmetrics.sources.langchain.callbacks.attribution``.

    It raises nothing into the program except ``BudgetExceeded``, when a budget blocks a call:
    events that it cannot understand are counted in ``agentmetrics_handler_errors_total``. It keeps
    no prompt, reply, argument or error text.

    Raises ``agentmetrics.ConfigurationError`` when made without a recorder and the environment's
    settings are invalid.
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
        self._own = None if recorder is None else pipeline_of(recorder)
        self._pipeline()  # settings that cannot be used stop the program now

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
        return issubclass(type(sys.exc_info()[1]), BudgetExceeded)

    def is_for(self, recorder: Recorder | None, agent_name: str | None) -> bool:
        """Whether this handler was made with the same arguments."""
        return self._explicit is recorder and self.agent_name == agent_name

    def _pipeline(self) -> Pipeline:
        return self._own or active.pipeline or in_use().pipeline

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
        pipeline = self._pipeline()
        try:
            start_call(
                pipeline, self.agent_name, run_id, parent_run_id, metadata,
                invocation_params, serialized, messages, batch_size,
            )  # fmt: skip
        except BudgetExceeded:
            raise
        except Exception as error:
            pipeline.failed("on_chat_model_start", error)
            self._start_plain_call(pipeline, run_id, parent_run_id, metadata, invocation_params)

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
        pipeline = self._pipeline()
        try:
            start_call(
                pipeline, self.agent_name, run_id, parent_run_id, metadata,
                invocation_params, serialized, [prompts],
            )  # fmt: skip
        except BudgetExceeded:
            raise
        except Exception as error:
            pipeline.failed("on_llm_start", error)
            self._start_plain_call(pipeline, run_id, parent_run_id, metadata, invocation_params)

    def _start_plain_call(
        self,
        pipeline: Pipeline,
        run_id: UUID,
        parent_run_id: object,
        metadata: object,
        invocation_params: object,
    ) -> None:
        try:
            parent, params = plain_id(parent_run_id), plain_dict(invocation_params)
            start_call(pipeline, self.agent_name, run_id, parent, plain_dict(metadata), params)
        except BudgetExceeded:
            raise
        except Exception:  # it was counted the first time
            pipeline.admit_unread(self.agent_name)

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
        # Written out are _pipeline() and note_chunk(): calls for every token would tell.
        pipeline = self._own or active.pipeline or in_use().pipeline
        try:
            call = pipeline.table.get(run_id)
            if type(call) is LLMCall:
                if call.first_token:
                    now = perf_counter()
                    gap = now - call.last_chunk
                    if gap > call.longest_gap:
                        call.longest_gap = gap
                    call.last_chunk = now
                elif chunk_carries_output(token, chunk):
                    call.first_token = call.last_chunk = perf_counter()
                if type(chunk) is ChatGenerationChunk:
                    message = chunk.message
                    if getattr(message, "usage_metadata", None):
                        read_chunk(call, message)
        except Exception as error:
            pipeline.failed("on_llm_new_token", error)

    def on_stream_event(
        self,
        event: Any = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        pipeline = self._pipeline()
        try:
            call = pipeline.table.get(run_id)
            if isinstance(call, LLMCall):
                if call.first_token:
                    call.note_chunk(perf_counter())
                elif event_carries_output(event):
                    call.first_token = call.last_chunk = perf_counter()
        except Exception as error:
            pipeline.failed("on_stream_event", error)

    def on_llm_end(
        self,
        response: LLMResult = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        pipeline = self._pipeline()
        call: Fact | None = None
        try:
            call = pipeline.table.take(run_id)
            if type(call) is LLMCall:
                try:
                    read_response(call, response, run_id)
                    if call.kept_for:
                        keep_for(call)
                    if instrumented or get_llm_cache() is not None:
                        note_lookup(call, response)
                except ErrorInResponse as error:
                    pipeline.finish(call, error)
                    return
                except Exception as error:  # the call counts, its tokens do not
                    pipeline.failed("on_llm_end", error)
                    note_unread(call, response)
                if call.usage is not None and (doubt := doubt_about(call)) is not None:
                    pipeline.failed("on_llm_end", doubt)
                    if call.is_unmetered:
                        note_unread(call, response)
                pipeline.succeed(call)
            elif call is not None:
                pipeline.finish(call)
        except Exception as problem:
            pipeline.failed("on_llm_end", problem)
            _finish_anyway(pipeline, call)

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
        pipeline = self._pipeline()
        call: Fact | None = None
        try:
            call = pipeline.table.take(run_id)
            if isinstance(call, LLMCall) and response is not None:
                _read(pipeline, "on_llm_error", call, response, run_id)  # it may have been billed
            if call is not None:
                raised = _error_of(pipeline, "on_llm_error", error)
                pipeline.finish(call, raised)
                member_failed(pipeline, run_id, parent_run_id, raised)
        except Exception as problem:
            pipeline.failed("on_llm_error", problem)
            _finish_anyway(pipeline, call, problem)

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
        pipeline = self._pipeline()
        try:
            chain = start_chain(
                pipeline, self.agent_name, run_id, parent_run_id, metadata, tags, name
            )
            if chain.name in PLACES:
                place_started(pipeline, chain, run_id, parent_run_id, tags, metadata)
        except Exception as error:
            pipeline.failed("on_chain_start", error)
            with suppress(Exception):
                start_chain(
                    pipeline, self.agent_name, run_id, plain_id(parent_run_id),
                    plain_dict(metadata), plain_texts(tags), plain_text(name),
                )  # fmt: skip

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
        pipeline = self._pipeline()
        try:
            if is_interrupt(error):  # LangGraph ends the outermost graph as if it had succeeded
                graph = scope_of(pipeline, parent_run_id)
                if isinstance(graph, ChainRun) and is_graph_node(tags):
                    graph.interrupted = True
        except Exception as error:
            pipeline.failed("on_chain_error", error)

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
        self._start_inside(
            ToolExecution, "on_tool_start", run_id, parent_run_id, metadata, serialized, name
        )

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
        self._start_inside(
            RetrieverQuery, "on_retriever_start", run_id, parent_run_id, metadata, serialized, name
        )

    def on_retriever_end(
        self,
        documents: Sequence[Any] = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        pipeline = self._pipeline()
        query: Fact | None = None
        try:
            query = pipeline.table.leave(run_id)
            if isinstance(query, RetrieverQuery):
                query.documents = _count(pipeline, documents)
            if query is not None:
                pipeline.finish(query)
        except Exception as error:
            pipeline.failed("on_retriever_end", error)
            _finish_anyway(pipeline, query)

    def on_retriever_error(
        self,
        error: BaseException = _MISSING,
        *,
        run_id: UUID = _MISSING,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        self._fail("on_retriever_error", run_id, parent_run_id, error)

    def _start_inside(
        self,
        kind: type[ToolExecution] | type[RetrieverQuery],
        event: str,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: Metadata | None,
        serialized: dict[str, Any] | None,
        name: str | None,
    ) -> None:
        pipeline = self._pipeline()
        try:
            start_inside(
                kind, pipeline, self.agent_name, run_id, parent_run_id, metadata, serialized, name
            )
        except Exception as error:
            pipeline.failed(event, error)
            with suppress(Exception):
                start_inside(
                    kind, pipeline, self.agent_name, run_id, plain_id(parent_run_id),
                    plain_dict(metadata), plain_dict(serialized), plain_text(name),
                )  # fmt: skip

    def _end(self, event: str, run_id: UUID) -> None:
        pipeline = self._pipeline()
        fact: Fact | None = None
        try:
            fact = pipeline.table.leave(run_id)
            if fact is not None:
                if type(fact) is ChainRun and fact.alternatives is not None:
                    place_ended(pipeline, run_id)
                pipeline.finish(fact)
        except Exception as problem:
            pipeline.failed(event, problem)
            _finish_anyway(pipeline, fact)

    def _fail(
        self, event: str, run_id: UUID, parent_run_id: UUID | None, error: BaseException
    ) -> None:
        pipeline = self._pipeline()
        fact: Fact | None = None
        try:
            fact = pipeline.table.leave(run_id)
            if fact is not None:
                if type(fact) is ChainRun and fact.alternatives is not None:
                    place_ended(pipeline, run_id)
                raised = _error_of(pipeline, event, error)
                pipeline.finish(fact, raised)
                member_failed(pipeline, run_id, parent_run_id, raised)
        except Exception as problem:
            pipeline.failed(event, problem)
            _finish_anyway(pipeline, fact, problem)

    def _heard(self, *args: Any, **kwargs: Any) -> None:
        """Events that begin and end nothing."""

    on_text = on_retry = on_agent_action = on_agent_finish = on_custom_event = _heard


def _finish_anyway(pipeline: Pipeline, fact: Fact | None, error: Exception | None = None) -> None:
    """Finish what an event took out of the table before the event proved not to be understood."""
    if fact is not None and not fact.ended:
        pipeline.finish(fact, error)


def _error_of(pipeline: Pipeline, event: str, error: Any) -> BaseException:
    """The error that an event came with; an error event without one is an error all the same."""
    if issubclass(type(error), BaseException):  # not isinstance(), which asks the object
        found: BaseException = error
        return found
    missing = TypeError()
    pipeline.failed(event, missing)
    return missing


def _count(pipeline: Pipeline, documents: object) -> int | None:
    if isinstance(documents, Sequence) and not isinstance(documents, str | bytes):
        return len(documents)
    pipeline.failed("on_retriever_end", TypeError())
    return None


def _read(pipeline: Pipeline, event: str, call: LLMCall, response: LLMResult, run_id: UUID) -> None:
    """Read a response; where it cannot be read the call counts, and its tokens do not."""
    try:
        read_response(call, response, run_id)
        if (doubt := doubt_about(call)) is not None:
            pipeline.failed(event, doubt)
    except ErrorInResponse:  # the one that was raised says more
        return
    except Exception as error:
        pipeline.failed(event, error)
