"""What is shown of agents that are at work, as plain data: the view, its rows, an agent's details.

Every class can be made into JSON with ``dataclasses.asdict``. ``None`` is what nobody knows: a rate
before the second snapshot, a quantile of nothing, what an older version does not tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentmetrics.live.marks import Mark

COURSE_SECONDS = 60.0
COURSE_PARTS = 12


@dataclass(frozen=True, slots=True)
class Flow:
    """Calls to models, of all agents, of one, or to one model.

    What has ``total`` in its name is since the start of the programs, as far as is known; all else
    is of the window.
    """

    calls_total: float
    usd_total: float
    calls_per_minute: float | None
    usd_per_minute: float | None
    input_tokens_per_second: float | None
    output_tokens_per_second: float | None
    first_token_seconds: float | None
    """The median of streamed calls, interpolated in its bucket; so are the next two, of all."""
    p50_seconds: float | None
    p95_seconds: float | None
    errors: float | None
    error_share: float | None
    """Of calls that succeeded or failed, from 0 to 1: of one that was cancelled nobody can say."""
    cache_share: float | None
    """Of input tokens, those that the provider read from its prompt cache, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent."""

    agent: str
    active_runs: float | None
    active_calls: float | None
    oldest_run_seconds: float | None
    """0 if there is none, and so is the age of the oldest call."""
    oldest_call_seconds: float | None
    runs_total: float
    runs_per_minute: float | None
    calls_per_run: float | None
    """Average of all finished runs, since a window may have none."""
    flow: Flow
    usd_today: float | None
    """Since midnight by the ledger, whose time zone that is; ``None`` where there is none."""
    course: tuple[float, ...]
    """Tokens in each 5 s of the last minute, the latest last."""
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model of a provider."""

    provider: str
    model: str
    flow: Flow


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """What is in flight at a provider."""

    provider: str
    active_calls: float


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A tool or a retriever."""

    name: str
    active: float | None
    """``None`` for a retriever, whose queries in progress are not counted."""
    total: float
    per_minute: float | None
    errors: float | None
    error_share: float | None
    p50_seconds: float | None
    p95_seconds: float | None


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """Failed calls of one type."""

    error_type: str
    total: float
    recent: float | None
    """In the window."""


@dataclass(frozen=True, slots=True)
class CacheRow:
    """A cache of the program's, or LangChain's for answers of models."""

    cache: str
    hits_total: float
    misses_total: float
    hit_share: float | None
    """Of the lookups in the window, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A budget in its current period; amounts are in USD."""

    budget: str
    period: str
    limit_usd: float
    spent_usd: float
    projected_usd: float | None
    """At the end of the period at the rate so far; ``None`` for as long as it has only begun."""
    ends: float | None
    """Unix time."""
    lasts_seconds: float | None
    """How long the rest lasts at the rate of the last 15 minutes, or since somebody has watched."""
    blocked_total: float
    """Calls that it refused."""
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class AgentDetails:
    """What one agent uses."""

    row: AgentRow
    models: tuple[ModelRow, ...]
    tools: tuple[ToolRow, ...]
    retrievers: tuple[ToolRow, ...]
    errors: tuple[ErrorRow, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Everything at one moment."""

    time: float
    """Unix time of the latest snapshot."""
    window_seconds: float
    """What rates are over: less than was asked for where nobody has watched for that long."""
    usd_per_day: float | None
    """What a day costs at the rate of the window."""
    usd_today: float | None
    """Of all agents; see ``AgentRow``."""
    active_runs: float | None
    active_calls: float | None
    unpriced_calls_total: float
    """Calls whose price is unknown, which no amount here contains."""
    flow: Flow
    agents: tuple[AgentRow, ...]
    """By name."""
    models: tuple[ModelRow, ...]
    providers: tuple[ProviderRow, ...]
    errors: tuple[ErrorRow, ...]
    budgets: tuple[BudgetRow, ...]
    caches: tuple[CacheRow, ...]

    @property
    def marked(self) -> Sequence[tuple[str, Mark]]:
        """Everything that is marked, with the name of its agent or budget."""
        rows = [(row.agent, row.marks) for row in self.agents]
        rows += [(row.budget, row.marks) for row in self.budgets]
        return [(name, mark) for name, marks in rows for mark in marks]
