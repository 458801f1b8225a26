"""What sources tell and meters record: calls, tool executions, retriever queries, agent runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from agentmetrics.providers.usage import Usage

UNKNOWN = "unknown"


# Fields with init=False are filled in later; the class has their default, so a start pays nothing.


@dataclass(eq=False)
class AgentRun:
    """One run of an agent, and what was attributed to it while it went on.

    ``started`` and ``ended`` are readings of ``time.perf_counter()`` in seconds, here and below.
    The totals are the run's own: what a nested agent did stands with the nested agent. But
    ``spent_usd``, which is kept where there is a ``max_cost_usd``, is of everything inside.
    ``outer_name`` is an agent's name that LangChain's metadata had where the run began, so that
    it is not about what is inside. ``config_unseen`` is that of a run whose own LangGraph config
    has not been seen yet, which may have values for the extra labels.
    """

    agent_name: str
    started: float
    extra: tuple[str, ...] = ()
    outer_name: str = ""
    config_unseen: bool = field(default=False, init=False)
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    llm_calls: int = field(default=0, init=False)
    tool_calls: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    cost_usd: float = field(default=0.0, init=False)
    around: AgentRun | None = field(default=None, init=False)
    max_cost_usd: float | None = field(default=None, init=False)
    spent_usd: float = field(default=0.0, init=False)
    run: ClassVar[None] = None  # it is in no other's totals


@dataclass(eq=False)
class Lookup:
    """What a cache said when a call asked it; ``None`` while nothing was asked."""

    found: bool | None = None


FOUND, MISSED = Lookup(found=True), Lookup(found=False)


@dataclass(eq=False)
class LLMCall:
    """One call of a model.

    ``api_seconds`` is the provider's own account of the time it took, 0 where it gives none.
    ``service_tier`` is the one that served, where it is priced apart (``flex``, ``batch``).
    ``lookup`` is what is known of a cache that it asked first.
    """

    agent_name: str
    provider: str
    model: str
    started: float
    run: AgentRun | None = None
    extra: tuple[str, ...] = ()
    first_token: float = field(default=0.0, init=False)
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    error_type: str = field(default="", init=False)
    usage: Usage | None = field(default=None, init=False)
    api_seconds: float = field(default=0.0, init=False)
    service_tier: str = field(default="", init=False)
    lookup: Lookup | None = field(default=None, init=False)
    cost_usd: float | None = field(default=None, init=False)
    settle: tuple[Callable[[LLMCall], None], ...] = field(default=(), init=False)

    @property
    def cached(self) -> bool:
        """Whether a cache answered it: then no provider was called, and nothing is billed."""
        return self.lookup is not None and self.lookup.found is True


class Bound(NamedTuple):
    """The most tokens that a call can use, and the service tier that it asks for."""

    input_tokens: int
    output_tokens: int
    service_tier: str = ""


@dataclass(eq=False)
class ToolExecution:
    """One execution of a tool; ``scope`` is the chain that it is in."""

    agent_name: str
    tool_name: str
    started: float
    run: AgentRun | None = None
    scope: ChainRun | None = None
    extra: tuple[str, ...] = ()
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)


@dataclass(eq=False)
class RetrieverQuery:
    """One query of a retriever; ``scope`` is the chain that it is in."""

    agent_name: str
    retriever: str
    started: float
    run: AgentRun | None = None
    scope: ChainRun | None = None
    extra: tuple[str, ...] = ()
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    documents: int | None = field(default=None, init=False)


@dataclass(eq=False)
class Alternatives:
    """A place where one model takes over when another fails, and why the last one did.

    ``run`` is the number of the run that it is, ``nested`` whether its models run inside that.
    """

    run: int
    outer: Alternatives | None
    failed: str = field(default="", init=False)
    nested: bool = field(default=False, init=False)


@dataclass(eq=False)
class ChainRun:
    """One run of a chain or graph: without metrics, but an agent run may begin with it.

    ``run`` is the agent run that it is part of, ``began`` whether that one ends with it.
    ``graph`` is the nearest named LangGraph graph at or above it, ``outer_graph`` the one above;
    ``is_graph`` is whether a node of it has started, so that it is a graph itself, and
    ``interrupted`` whether that stopped at an interrupt. ``alternatives`` is the nearest place at
    or above it where one model takes over from another.
    """

    name: str
    started: float
    run: AgentRun | None = None
    began: bool = False
    graph: str = ""
    outer_graph: str = field(default="", init=False)
    is_graph: bool = field(default=False, init=False)
    interrupted: bool = field(default=False, init=False)
    ended: float = field(default=0.0, init=False)
    status: str = field(default="", init=False)
    alternatives: Alternatives | None = field(default=None, init=False)


Fact = ChainRun | AgentRun | LLMCall | ToolExecution | RetrieverQuery
