"""What sources report and meters record: calls, tool executions, retriever queries, agent runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from agentmetrics.providers.counts import bound_of
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.exemplars import SpanContext
from agentmetrics.recording.metric import class_name, clean_label

UNKNOWN = "unknown"


# Fields with init=False are filled in later; the class has their default, so a start pays nothing.
# ``started`` and ``ended`` are readings of ``time.perf_counter()`` in seconds everywhere. ``span``
# is the one that was current at the start, if it is sampled and the recorder keeps exemplars.


@dataclass(eq=False)
class AgentRun:
    """One run of an agent, and what was attributed to it while it went on.

    The totals are the run's own: what a nested agent did stands with the nested agent. But
    ``spent_usd``, which is kept where there is a ``max_cost_usd``, is of everything inside.
    ``outer_name`` is an agent's name that a framework already had where the run began, so that
    it is not about what is inside. ``extra_is_open`` is that of a run that begins in a framework
    which has not shown all values of its extra labels yet. ``rss_bytes`` is the resident memory of
    the process when it began, where it was read. ``is_left`` is that of a run whose block is gone
    and could not put back what was around: whoever finds it in the context is in ``around``.
    """

    kind: ClassVar[str] = "agent"

    agent_name: str
    started: float
    extra: tuple[str, ...] = ()
    outer_name: str = ""
    extra_is_open: bool = field(default=False, init=False)
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    span: SpanContext | None = field(default=None, init=False)
    llm_calls: int = field(default=0, init=False)
    tool_calls: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    cost_usd: float = field(default=0.0, init=False)
    rss_bytes: int | None = field(default=None, init=False)
    around: AgentRun | None = field(default=None, init=False)
    is_left: bool = field(default=False, init=False)
    max_cost_usd: float | None = field(default=None, init=False)
    spent_usd: float = field(default=0.0, init=False)
    run: ClassVar[None] = None  # it is in no other's totals


@dataclass(eq=False)
class Scope:
    """A place in a program that calls are made in: a chain, a graph, a workflow.

    It has no metrics of its own, but an agent run may begin with it. ``run`` is the agent run that
    it is part of, ``began`` whether that one ends with it. A framework keeps what else it knows of
    such a place in a subclass.
    """

    kind: ClassVar[str] = "chain"

    name: str
    started: float
    run: AgentRun | None = None
    began: bool = False
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    span: SpanContext | None = field(default=None, init=False)

    @property
    def inside(self) -> Scope:
        """The scope of what begins in this one."""
        return self

    @property
    def run_status(self) -> str:
        """The status of an agent run that ends with this scope."""
        return self.status


@dataclass(eq=False)
class Lookup:
    """What a cache said when a call asked it; ``None`` while nothing was asked."""

    found: bool | None = None


FOUND, MISSED = Lookup(found=True), Lookup(found=False)


class Unread(NamedTuple):
    """What to say of a call whose tokens nobody reported: the class of its response, ``""`` where
    there was none to read, and what the user can do."""

    response: str
    advice: str

    @classmethod
    def of(cls, response: object, advice: str) -> Unread:
        """That of a response which has no usage that is understood."""
        return cls(clean_label(class_name(response)), advice)


NO_RESPONSE = Unread("", "pass the response to record_response(), or the tokens to record_usage()")


@dataclass(eq=False)
class LLMCall:
    """One call of a model.

    ``model`` is the one that was asked for, or the one that served where none was asked for by
    name; ``served_model`` is the one that the response names, empty where it names none.
    ``finish_reason`` is one of ``catalog.FINISH_REASONS``, or empty. ``last_chunk`` is when the
    last chunk of a stream came whose chunks are seen, and ``longest_gap`` the longest time between
    two of them. ``api_seconds`` is the provider's own account of the time it took, 0 where it gives
    none. ``service_tier`` is the one that served, where it is priced apart (``flex``, ``batch``).
    ``lookup`` is what is known of a cache that it asked first, and ``unread`` of its response where
    that has no usage. ``series`` is what the meter keeps for calls with these labels, where they
    cannot change any more: it is then not looked up again at the end. ``settle`` holds the
    functions of the gates that settle it once it has ended. ``is_logged`` is whether its log lines
    were requested.
    """

    kind: ClassVar[str] = "llm"

    agent_name: str
    provider: str
    model: str
    started: float
    run: AgentRun | None = None
    extra: tuple[str, ...] = ()
    first_token: float = field(default=0.0, init=False)
    last_chunk: float = field(default=0.0, init=False)
    longest_gap: float = field(default=0.0, init=False)
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    span: SpanContext | None = field(default=None, init=False)
    error_type: str = field(default="", init=False)
    served_model: str = field(default="", init=False)
    finish_reason: str = field(default="", init=False)
    usage: Usage | None = field(default=None, init=False)
    api_seconds: float = field(default=0.0, init=False)
    service_tier: str = field(default="", init=False)
    lookup: Lookup | None = field(default=None, init=False)
    series: Any = field(default=None, init=False)
    unread: Unread = field(default=NO_RESPONSE, init=False)
    cost_usd: float | None = field(default=None, init=False)
    settle: tuple[Callable[[LLMCall], None], ...] = field(default=(), init=False)
    is_logged: bool = field(default=False, init=False)

    @property
    def is_unmetered(self) -> bool:
        """Whether nothing is known of its tokens."""
        return self.usage is None or self.usage.is_empty

    @property
    def cached(self) -> bool:
        """Whether a cache answered it: then no provider was called, and nothing is billed."""
        return self.lookup is not None and self.lookup.found is True

    @property
    def priced_model(self) -> str:
        """The model whose price the call has: the one that served, as far as that is known."""
        return self.served_model or self.model

    def serve(self, model: str) -> None:
        """Note the model that the response names; an empty name is none."""
        self.served_model = model
        if self.model == UNKNOWN:
            self.model, self.series = model or UNKNOWN, None

    def note_chunk(self, now: float) -> None:
        """Note another chunk of a stream whose first was noted; on the clock of ``started``."""
        gap = now - self.last_chunk
        if gap > self.longest_gap:
            self.longest_gap = gap
        self.last_chunk = now


class Ceiling(NamedTuple):
    """The most tokens that a call can use, and the service tier that it asks for."""

    input_tokens: int
    output_tokens: int
    service_tier: str = ""

    @classmethod
    def of(cls, input_tokens: object, output_tokens: object) -> Ceiling:
        """That which a program states; ``ValueError`` unless both are numbers of tokens."""
        return cls(
            bound_of(input_tokens, "max_input_tokens"), bound_of(output_tokens, "max_output_tokens")
        )


@dataclass(eq=False)
class ToolExecution:
    """One execution of a tool; ``scope`` is where."""

    kind: ClassVar[str] = "tool"

    agent_name: str
    tool_name: str
    started: float
    run: AgentRun | None = None
    scope: Scope | None = None
    extra: tuple[str, ...] = ()
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    span: SpanContext | None = field(default=None, init=False)

    @property
    def inside(self) -> Scope | None:
        """The scope of what begins in this one."""
        return self.scope


@dataclass(eq=False)
class RetrieverQuery:
    """One query of a retriever; ``scope`` is where."""

    kind: ClassVar[str] = "retriever"

    agent_name: str
    retriever: str
    started: float
    run: AgentRun | None = None
    scope: Scope | None = None
    extra: tuple[str, ...] = ()
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    span: SpanContext | None = field(default=None, init=False)
    documents: int | None = field(default=None, init=False)

    @property
    def inside(self) -> Scope | None:
        """The scope of what begins in this one."""
        return self.scope


Fact = Scope | AgentRun | LLMCall | ToolExecution | RetrieverQuery
KINDS = tuple(fact.kind for fact in (Scope, AgentRun, LLMCall, ToolExecution, RetrieverQuery))
