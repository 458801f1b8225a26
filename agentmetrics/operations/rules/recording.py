"""Recording rules: how fast each agent uses up the error budgets of its objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agentmetrics.operations.rules.objectives import Objective, Objectives, Within
from agentmetrics.operations.rules.promql import all_but, le, only

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
BY = "job, agent_name"
CALLS = 'llm_calls_total{status=~"success|error"}'
"""Of calls that were cancelled or interrupted, nobody can say that they failed."""


@dataclass(frozen=True)
class Recording:
    """A series that Prometheus computes; ``name`` is ``level:metric:operation``."""

    name: str
    expr: str


@dataclass(frozen=True)
class ServiceLevel:
    """What an objective is about.

    ``calls`` are the calls that count, ``bad`` those that miss the objective, as in the names of
    recorded series; ``counter`` counts the former. ``share_of`` reads the share of good calls from
    an objective, and ``within`` the limit of those that are good by their time.
    """

    name: str
    calls: str
    bad: str
    counter: str
    share_of: Callable[[Objective], float]
    within: Callable[[Objective], Within] | None = None

    def rate(self, window: str) -> str:
        return f"job_agent_name:{self.calls}:rate{window}"

    def ratio(self, window: str) -> str:
        return f"job_agent_name:{self.bad}:ratio_rate{window}"

    def burn(self, window: str) -> str:
        """1 uses up the error budget exactly in the period of the objective."""
        return f"job_agent_name:{self.bad}:burn_rate{window}"

    def budget(self, objective: Objective) -> float:
        """The share of calls that may be bad."""
        return round(1 - self.share_of(objective), 9)


AVAILABILITY = ServiceLevel(
    name="availability",
    calls="llm_calls",
    bad="llm_calls_failed",
    counter=CALLS,
    share_of=lambda it: it.availability,
)
LATENCY = ServiceLevel(
    name="latency",
    calls="llm_calls_timed",
    bad="llm_calls_slow",
    counter="llm_latency_seconds_count",
    share_of=lambda it: it.latency.share,
    within=lambda it: it.latency,
)
FIRST_TOKEN = ServiceLevel(
    name="first-token",
    calls="llm_first_tokens",
    bad="llm_first_tokens_slow",
    counter="llm_time_to_first_token_seconds_count",
    share_of=lambda it: it.first_token.share,
    within=lambda it: it.first_token,
)


def recordings(objectives: Objectives) -> dict[str, tuple[Recording, ...]]:
    """Traffic, share of bad calls and burn rate by job and agent over each window, by level."""
    return {
        level.name: tuple(rule for window in WINDOWS for rule in _over(window, level, objectives))
        for level in (AVAILABILITY, LATENCY, FIRST_TOKEN)
    }


def _over(window: str, level: ServiceLevel, objectives: Objectives) -> Iterator[Recording]:
    yield Recording(level.rate(window), f"sum by ({BY}) (rate({level.counter}[{window}]))")
    yield Recording(level.ratio(window), _ratio(level, window, objectives))
    yield Recording(level.burn(window), _burn(level, window, objectives))


def _ratio(level: ServiceLevel, window: str, objectives: Objectives) -> str:
    calls = level.rate(window)
    if level.within is None:
        failed = f'sum by ({BY}) (rate(llm_calls_total{{status="error"}}[{window}]))'
        return f"({failed} or 0 * {calls})\n/\n({calls} > 0)"
    within, buckets = level.within, level.counter.replace("_count", "_bucket")

    def slow(objective: Objective, agents: str) -> str:
        fast = ", ".join(filter(None, (agents, le(within(objective).seconds))))
        return (
            f"1 - sum by ({BY}) (rate({buckets}{{{fast}}}[{window}]))\n/\n"
            f"({calls}{_braces(agents)} > 0)"
        )

    return _by_agent(objectives, slow)


def _burn(level: ServiceLevel, window: str, objectives: Objectives) -> str:
    def burn(objective: Objective, agents: str) -> str:
        return f"{level.ratio(window)}{_braces(agents)} / {level.budget(objective):.10g}"

    return _by_agent(objectives, burn)


def _by_agent(objectives: Objectives, expr: Callable[[Objective, str], str]) -> str:
    """The expression for each objective, with the matcher of the agents that it holds for."""
    agents = objectives.agents
    matched = [expr(objectives.default, all_but(agents) if agents else "")]
    matched += [expr(objective, only(name)) for name, objective in agents.items()]
    return "\nor\n".join(matched)


def _braces(matchers: str) -> str:
    return f"{{{matchers}}}" if matchers else ""
