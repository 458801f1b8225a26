"""Models that take over from one another, as callbacks show it.

LangChain sends no event when a call is handed to the next model. It sends this (the same from
langchain-core 1.0 to 1.7):

- ``.with_fallbacks`` is a chain run named ``RunnableWithFallbacks``. Its members, bare models or
  chains or models with retries, are runs directly inside it, one after another. Where ``invoke``
  and ``ainvoke`` are given callbacks, they are runs directly inside its *parent*, as if beside it:
  LangChain passes them the outer config. They are then known by the context in which they start,
  which is a copy of the one that the fallback's run started in.
- ``ModelFallbackMiddleware`` sends nothing. Its models are called directly inside the run of the
  node ``model`` of the graph that ``create_agent`` made, and so are the attempts of
  ``ModelRetryMiddleware`` and whatever else a middleware calls there.

The rule: a member that ends with an error leaves the type of it with the place it is a member of,
and the next call of a model that starts at that place takes it, which is one fallback. So the
attempts of ``.with_retry`` leave nothing, because the member is the run around them; nor does an
error that is swallowed deeper inside a member; and what the last member leaves is dropped with
the run. In the node of an agent the call must ask another model object the same thing: LangChain
keeps the serialized form of a model with the object, so a retry brings the same one; the same
thing is as many messages, a last one of the same id, and tools if there were tools.

What cannot be known: a ``RunnableWithFallbacks`` that was given a ``run_name`` (it looks like any
chain); in an agent, a fallback after an answer that could not be parsed (no error is sent), and
a middleware's own call of another model that fails, asks exactly what the agent asks next, and
is swallowed (it looks like a fallback). langchain before 1.2.13 does not say in the metadata that
``create_agent`` made a graph: there every node named ``model`` is taken for one of an agent. And
on Python 3.10 nothing is known of what runs in an async node of LangGraph.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from agentmetrics.calls.facts import Scope
from agentmetrics.pipeline import Pipeline
from agentmetrics.providers.error_types import error_type_of
from agentmetrics.sources.langchain.around import extra_values_here
from agentmetrics.sources.langchain.callbacks.attribution import Metadata
from agentmetrics.sources.langchain.callbacks.scope import Alternatives, ChainRun

FALLBACKS, MODEL_NODE = "RunnableWithFallbacks", "model"
PLACES = frozenset({FALLBACKS, MODEL_NODE})
"""Names of the chain runs in which models take over from one another."""
_CREATE_AGENT = "langchain_create_agent"
_INTENT = ("intent",)

Question = tuple[int, str | None, bool]


@dataclass(eq=False)
class Fallbacks(Alternatives):
    """A run of ``RunnableWithFallbacks``."""


@dataclass(eq=False)
class ModelNode(Alternatives):
    """A run of the node ``model`` of an agent, and the last call that was made in it."""

    call: int = field(default=0, init=False)
    model: object = field(default=None, init=False)
    question: Question | None = field(default=None, init=False)

    def asks(self, call: int, model: object, question: Question) -> str:
        """A call of a model is made here; why another one failed that it takes over from."""
        taken_over = self.model is not model and self.question == question
        reason = self.failed if taken_over else ""
        self.call, self.model, self.question, self.failed = call, model, question, ""
        return reason


class _Around:
    """A run of ``RunnableWithFallbacks`` in whose context something happens."""

    __slots__ = ("int", "outer", "parent")

    def __init__(self, run_id: UUID, parent_run_id: UUID | None, outer: _Around | None) -> None:
        self.int = run_id.int
        self.parent = _number(parent_run_id)
        self.outer = outer


_around: ContextVar[_Around | None] = ContextVar("agentmetrics_fallbacks", default=None)

failing: set[weakref.ref[Fallbacks]] = set()
"""Runs whose members stand beside them and of which one has failed; nearly always empty."""


def place_started(
    pipeline: Pipeline,
    chain: ChainRun,
    run_id: UUID,
    parent_run_id: UUID | None,
    tags: list[str] | None,
    metadata: Metadata | None,
) -> None:
    """Note that a chain run with one of the names in ``PLACES`` has started."""
    if chain.name == FALLBACKS:
        around = chain.alternatives
        if around is not None and around.run == _number(parent_run_id):
            # A retry of fallbacks has their name.
            if type(tags) is list and any(map(_is_attempt, tags)):
                around.failed = ""
        chain.alternatives = Fallbacks(run_id.int, chain.alternatives)
        _around.set(_Around(run_id, parent_run_id, _still_open(pipeline, _around.get())))
    elif metadata and metadata.get("langgraph_node") == MODEL_NODE:
        if metadata.get("ls_integration", _CREATE_AGENT) == _CREATE_AGENT:
            chain.alternatives = ModelNode(run_id.int, chain.alternatives)


def place_ended(pipeline: Pipeline, run_id: UUID) -> None:
    """Note that a chain run has ended; it was taken out of the table."""
    around = _around.get()
    if around is not None and around.int == run_id.int:
        _around.set(_still_open(pipeline, around))


def member_failed(
    pipeline: Pipeline, run_id: UUID, parent_run_id: UUID | None, error: BaseException
) -> None:
    """Leave the error's type with the place of which this run is a member, if there is one."""
    parent = _number(parent_run_id)
    around = _still_open(pipeline, _around.get())
    if around is not None and around.parent == parent:
        place = _fallbacks(pipeline, around)
        if place is not None and not place.nested:
            place.failed = error_type_of(error)
            failing.add(weakref.ref(place, failing.discard))
            return
    scope = pipeline.table.get(parent_run_id) if parent_run_id is not None and parent else None
    inside = scope.alternatives if isinstance(scope, ChainRun) else None
    if inside is not None and inside.run == parent:
        if isinstance(inside, Fallbacks) or getattr(inside, "call", None) == run_id.int:
            inside.failed = error_type_of(error)


def model_started(
    pipeline: Pipeline,
    scope: Scope | None,
    run_id: UUID,
    parent_run_id: UUID | None,
    model: object,
    messages: list[list[Any]] | None,
    parameters: Metadata | None,
    metadata: Metadata | None,
) -> None:
    """Count a fallback when this call of a model takes over from one that failed."""
    reason = ""
    for place in _places(pipeline, scope):
        left = ""
        if isinstance(place, Fallbacks):
            left, place.failed = place.failed, ""
        elif isinstance(place, ModelNode) and place.run == _number(parent_run_id):
            left = place.asks(run_id.int, model, _question(messages, parameters))
        reason = reason or left
    if reason:
        (intent,) = extra_values_here(_INTENT, metadata, None)
        pipeline.routing.fell_back(intent, reason)


def _places(pipeline: Pipeline, scope: Scope | None) -> Iterator[Alternatives]:
    """Where a call in ``scope`` may take over from another, the nearest first."""
    inside = scope.alternatives if isinstance(scope, ChainRun) else None
    if inside is not None:
        inside.nested = True
    while inside is not None:
        yield inside
        inside = inside.outer
    around = _around.get() if failing else None
    while around is not None:
        place = _fallbacks(pipeline, around)
        if place is not None and place.failed and not place.nested:
            failing.discard(weakref.ref(place))
            yield place
        around = around.outer


def _fallbacks(pipeline: Pipeline, around: _Around) -> Fallbacks | None:
    chain = pipeline.table.get(around)
    place = chain.alternatives if isinstance(chain, ChainRun) else None
    return place if isinstance(place, Fallbacks) else None


def _still_open(pipeline: Pipeline, around: _Around | None) -> _Around | None:
    """The nearest that has not ended.

    Those of a batch start in one context and end in any order, and a stream may be left elsewhere.
    """
    while around is not None and pipeline.table.get(around) is None:
        around = around.outer
    return around


def _question(messages: list[list[Any]] | None, parameters: Metadata | None) -> Question:
    asked = messages[0] if messages else []
    last = getattr(asked[-1], "id", None) if asked else None
    return len(asked), last, bool(parameters and parameters.get("tools"))


def _is_attempt(tag: str) -> bool:
    return tag.startswith("retry:attempt:")


def _number(run_id: UUID | None) -> int:
    return getattr(run_id, "int", 0)  # of None, and of what is no run id
