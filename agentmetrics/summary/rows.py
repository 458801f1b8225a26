"""What a summary says of one agent, model, tool or budget.

Times are in seconds, cost is in USD. ``None`` is what is not known: a time that was never observed,
the cost where no call has a known price.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentNumbers:
    """One agent, or all of them."""

    agent: str
    runs: int = 0
    active_runs: int = 0
    calls: int = 0
    errors: int = 0
    cancelled: int = 0
    cache_hits: int = 0
    """Answers from LangChain's LLM cache, which are no calls."""
    tool_executions: int = 0
    active: int = 0
    """Calls in flight."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Input tokens that the provider had in its prompt cache; they are in ``input_tokens``."""
    reasoning_tokens: int = 0
    """They are in ``output_tokens``."""
    unmetered_calls: int = 0
    """Successful calls without token counts."""
    cost_usd: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    first_token_p50: float | None = None


@dataclass(frozen=True, slots=True)
class ModelNumbers:
    """One model at one provider."""

    provider: str
    model: str
    calls: int = 0
    errors: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    unmetered_calls: int = 0
    unpriced_calls: int = 0
    """Calls that used tokens and are not in ``cost_usd``."""
    cost_usd: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    first_token_p50: float | None = None


@dataclass(frozen=True, slots=True)
class ToolNumbers:
    """One tool, whichever agents use it."""

    tool: str
    executions: int = 0
    errors: int = 0
    cancelled: int = 0
    active: int = 0
    duration_p50: float | None = None
    duration_p95: float | None = None


@dataclass(frozen=True, slots=True)
class BudgetNumbers:
    """A budget in its current period."""

    budget: str
    period: str
    blocked_calls: int = 0
    limit_usd: float | None = None
    spent_usd: float | None = None
