"""InstrumentedRemoteGraph: a graph on a LangGraph server, which has no callbacks here."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from time import perf_counter
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph.types import Command

from agentmetrics.calls.facts import UNKNOWN, LLMCall
from agentmetrics.calls.outcome import SUCCESS
from agentmetrics.config.active import pipeline_for
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.langchain.callbacks.usage import read_response
from agentmetrics.sources.runs import OpenRun

_STATE, _UPDATES = "values", "updates"
_INTERRUPT = "__interrupt__"
_OF_MODELS = frozenset({"ai", "AIMessage", "AIMessageChunk"})


class InstrumentedRemoteGraph(RemoteGraph):
    """A ``RemoteGraph`` that records its runs, and the model calls whose answers come back.

    Each invocation or stream is a run of an agent with the graph's ``name``, wherever it is made.
    Each message of a model that comes into the remote graph's state is a call of that agent: once,
    by its id, with the usage, provider and model that it names, and without times. What is in the
    input or was on the thread before is not counted again. To know what was, ``values`` are
    requested for a thread, beside the stream modes that are asked for here.

    ``recorder`` defaults to the configured one; all else is as for ``RemoteGraph``. The events of
    version 3 are passed on unrecorded. Raises ``agentmetrics.ConfigurationError`` when made without
    a recorder and the environment's settings are invalid.
    """

    def __init__(
        self, assistant_id: str, /, *, recorder: Recorder | None = None, **options: Any
    ) -> None:
        super().__init__(assistant_id, **options)
        pipeline_for(recorder)  # settings that cannot be used stop the program now
        self.recorder = recorder  # an attribute, since RemoteGraph.copy passes these on
        # The client is the one place where every event can be seen, whichever are asked for.
        self.client = _watched(self.client, _AsyncRuns, self)
        self.sync_client = _watched(self.sync_client, _Runs, self)


def _watched(client: Any, kind: type[_Runs], graph: InstrumentedRemoteGraph) -> Any:
    if isinstance(client, _Client):  # of the graph that this is a copy of
        client = client.watched
    return None if client is None else _Client(client, kind(client.runs, graph))


class _Through:
    """An object that stands for another one, and has all that it does not have from that."""

    def __init__(self, watched: Any) -> None:
        self.watched = watched

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "watched":  # asked for before there is one
            raise AttributeError(name)
        return getattr(self.watched, name)


class _Client(_Through):
    """A client of a LangGraph server with other ``runs``."""

    def __init__(self, watched: Any, runs: _Runs) -> None:
        super().__init__(watched)
        self.runs = runs


class _Runs(_Through):
    """The part of a client that streams, with what ``RemoteGraph`` streams recorded."""

    def __init__(self, watched: Any, graph: InstrumentedRemoteGraph) -> None:
        super().__init__(watched)
        self._graph = graph

    def stream(self, **asked: Any) -> Generator[Any, None, None]:
        run = _RemoteRun(self._graph, asked)
        try:
            for part in self.watched.stream(**asked):
                run.read(part)
                yield part
        except BaseException as error:
            run.left(error)
            raise
        run.left()


class _AsyncRuns(_Runs):
    """The same on an event loop."""

    async def stream(self, **asked: Any) -> AsyncGenerator[Any, None]:  # type: ignore[override]
        run = _RemoteRun(self._graph, asked)
        try:
            async for part in self.watched.stream(**asked):
                run.read(part)
                yield part
        except BaseException as error:
            run.left(error)
            raise
        run.left()


class _RemoteRun(OpenRun):
    """One run of a remote graph, and the models' answers that come back from it.

    LangGraph sends the state of a graph, or of a graph in it, once before it does anything: what is
    in there was before. ``asked`` is what the server is asked for.
    """

    def __init__(self, graph: InstrumentedRemoteGraph, asked: dict[str, Any]) -> None:
        super().__init__(graph.name or UNKNOWN, graph.recorder, None)
        self._stopped_by: Exception | None = None
        self._known: set[str] = set()
        self._before: dict[str, set[str]] = {}
        try:
            self._known.update(_answers_in((asked.get("input"), asked.get("command"))))
            modes = asked["stream_mode"]
            if asked.get("thread_id") is not None and _STATE not in modes:
                asked["stream_mode"] = [*modes, _STATE]
        except Exception as error:
            self._pipeline.failed("remote_graph", error)

    def read(self, part: Any) -> None:
        """Read an event of the server's. It raises nothing."""
        try:
            self._read(part.event, part.data)
        except Exception as error:
            self._pipeline.failed("remote_graph", error)

    def left(self, error: BaseException | None = None) -> None:
        # RemoteGraph raises its errors after reading an event, and then lets go of the stream.
        super().left(self._stopped_by or error)

    def _read(self, event: str, data: Any) -> None:
        mode, _, namespace = event.partition("|")
        if mode == "error":
            self._stopped_by = RemoteException()
        elif mode == "command" and data.get("graph") == Command.PARENT:
            self._stopped_by = ParentCommand(Command())
        elif mode in (_STATE, _UPDATES):
            if isinstance(data, Mapping) and _INTERRUPT in data:
                self._stopped_by = GraphInterrupt()
            self._read_state(mode, namespace, _answers_in(data))

    def _read_state(self, mode: str, namespace: str, answers: dict[str, Any]) -> None:
        if mode == _STATE and namespace not in self._before:
            self._before[namespace] = set(answers)
            if not namespace:
                self._known.update(answers)
            return
        for key in answers.keys() - self._known - self._before.get(namespace, set()):
            self._known.add(key)
            if isinstance(answers[key], Mapping):
                self._record(answers[key])

    def _record(self, message: Mapping[str, Any]) -> None:
        call = LLMCall(self.fact.agent_name, UNKNOWN, UNKNOWN, math.nan, self.fact, self.fact.extra)
        call.ended, call.status = perf_counter(), SUCCESS
        try:
            names = ("id", "usage_metadata", "response_metadata", "additional_kwargs", "tool_calls")
            told = {name: message[name] for name in names if message.get(name)}
            answer = AIMessage(content=message.get("content") or "", **told)
            read_response(call, LLMResult(generations=[[ChatGeneration(message=answer)]]), uuid4())
        except Exception as error:  # the call counts, its tokens do not
            self._pipeline.failed("remote_graph", error)
        self._pipeline.record(call)


def _answers_in(state: Any) -> dict[str, Any]:
    """The messages of models in a state, an update or an input, by what they are known by."""
    return {_key(message): message for message in _messages_in(state) if _is_answer(message)}


def _messages_in(state: Any) -> Iterator[Any]:
    left = [state]
    while left:
        item = left.pop()
        if isinstance(item, BaseMessage) or (isinstance(item, Mapping) and "content" in item):
            yield item
        elif isinstance(item, Mapping):
            left.extend(item.values())
        elif isinstance(item, list | tuple):
            left.extend(item)


def _is_answer(message: Any) -> bool:
    """Whether a model has made a message, rather than the program: then it says which, or its use.

    The program's own messages are its input.
    """
    if isinstance(message, BaseMessage):
        return True
    served = message.get("response_metadata") or {}
    is_told = message.get("usage_metadata") or served.get("model_name") or served.get("model")
    return message.get("type") in _OF_MODELS and bool(is_told)


def _key(message: Any) -> str:
    if isinstance(message, BaseMessage):
        return message.id or repr(message.content)
    return message.get("id") or repr(message.get("content"))
